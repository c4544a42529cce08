"""Loss and metrics that every regression task shares."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the squared error, averaged over all elements of (batch, out_features).

    >>> loss(torch.zeros(2, 2), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor(7.5000)
    """
    return F.mse_loss(prediction, target)


def metrics(prediction: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Return the mean squared error as `loss` and `mse`, and the mean absolute error as `mae`.

    >>> metrics(torch.zeros(2, 2), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))["mae"]
    tensor(2.5000)
    """
    # half precision would round a mean over thousands of rows to three digits
    precise = torch.promote_types(prediction.dtype, torch.float32)
    prediction, target = prediction.to(precise), target.to(precise)
    mse = loss(prediction, target)
    return {"loss": mse, "mse": mse, "mae": F.l1_loss(prediction, target)}
