"""Gradient transforms: the identity changes nothing over any base, and the seam forwards what the base declares."""

import pytest
import torch
from torch import nn

from baselines.contract import Optimizer
from baselines.flops import Meter
from baselines.fractional.frac_accumulate import FracAccumulate
from baselines.oracle import Objective, Oracle
from baselines.standard.sgd import Sgd
from baselines.transform import GradientTransform
from suite.catalog import Catalog

CATALOG = Catalog()
MADE = [CATALOG.parse("optimizer", entry.name) for entry in CATALOG.entries("optimizer")]
# methods that split the batch cannot be a base: a transformed gradient has no parts
BASES = [optimizer for optimizer in MADE if optimizer.needs == {"grad"} and not isinstance(optimizer, FracAccumulate)]


class Identity(GradientTransform):
    """T(g) = g."""

    base: Optimizer = Sgd()

    def memory(self, params):
        return None

    def transformed(self, params, grads, memory, generator):
        return grads, memory


class Lagged(Identity):
    """T(g) = g ‖θ_t − θ_{t−1}‖: needs parameters of earlier steps to stay what they were."""

    def memory(self, params):
        return {"previous": params, "lags": []}

    def transformed(self, params, grads, memory, generator):
        lag = sum((params[name] - memory["previous"][name]).norm() for name in params)
        return grads, {"previous": params, "lags": [*memory["lags"], lag]}


def walk(optimizer, steps=5):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 1))
    oracle = Oracle(Objective(net, nn.functional.mse_loss), Meter({}))
    x, y = torch.randn(16, 3), torch.randn(16, 1)
    params = {name: p.detach().clone() for name, p in net.named_parameters()}
    state = optimizer.init(params)
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        params, state = optimizer.step(oracle.bind(x, y, seed=step), params, state, generator, 1.0)
    return optimizer.evaluation_params(params, state), state, oracle


@pytest.mark.parametrize("base", BASES, ids=lambda base: type(base).__name__)
def test_the_identity_is_the_base_bitwise(base):
    plain, _, _ = walk(base)
    wrapped, _, oracle = walk(Identity(base=base))
    assert all(torch.equal(plain[name], wrapped[name]) for name in plain)
    assert oracle.first_loss is not None
    assert (Identity(base=base).host_sync, Identity(base=base).decoupled_decay) == (base.host_sync, base.decoupled_decay)


@pytest.mark.parametrize("base", ["sgd(lr=0.1)", "adam(lr=0.1)"])
def test_memories_of_parameters_keep_their_values(base):
    _, state, _ = walk(Lagged(base=CATALOG.parse("optimizer", base)))
    lags = state["memory"]["lags"]
    assert lags[0] == 0
    assert all(lag > 0 for lag in lags[1:])


def test_a_base_that_needs_more_than_gradients_is_refused():
    with pytest.raises(ValueError, match="needs curvature"):
        Identity(base=CATALOG.parse("optimizer", "fomoh"))
