"""Margins of linear stability, layer by layer."""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.stable.stack import Stack

VERLET_LIMIT = 2.0


def check_stability(module: Stack) -> Tensor:
    """Return h‖K_j‖₂ of every layer, shape (N,); the Verlet steps are linearly stable below `VERLET_LIMIT`.

    For constant weights and σ' = 1 an eigenmode of singular value k is multiplied by roots of modulus one if hk < 2, and by
    one above it otherwise. σ' ≤ 1 only helps; weights that vary over depth can still make states grow.
    """
    with torch.no_grad():
        return module.h * torch.linalg.matrix_norm(torch.stack([theta["K"] for theta in module.path]), 2)
