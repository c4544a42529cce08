"""The neural ordinary differential equation: against the other networks, exact solutions, and without its library."""

import sys

import pytest
import torch

from baselines.contract import DERIVATIVES
from baselines.stable.odeint import Odeint
from tests.stable_cases import built, draw, gradient, network


@pytest.fixture
def library():
    return pytest.importorskip("torchdiffeq")


def test_without_the_library_there_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchdiffeq", None)
    with pytest.raises(ValueError, match=r"^neural_ode needs torchdiffeq, which is not installed; pip install torchdiffeq"):
        network("neural_ode").build((5,), 3)


def test_euler_is_the_residual_network(library):
    x, fields = draw(4, 5), {"width": 6, "depth": 5, "T": 2.0}
    torch.testing.assert_close(built("neural_ode", solver="euler", **fields)(x), built("resnet", **fields)(x))


def test_solvers_agree_where_they_are_exact(library):
    x, fields = draw(4, 5), {"width": 6, "depth": 40, "T": 1.0}
    reference = built("neural_ode", solver="dopri5", rtol=1e-10, atol=1e-12, **fields)(x)
    for solver, error in (("midpoint", 1e-4), ("rk4", 1e-8), ("adaptive_heun", 1e-4)):
        torch.testing.assert_close(built("neural_ode", solver=solver, **fields)(x), reference, rtol=error, atol=error)


def test_the_adjoint_equation_gives_about_the_gradient(library):
    x, fields = draw(4, 5), {"width": 4, "depth": 3, "T": 1.0, "solver": "dopri5", "rtol": 1e-9, "atol": 1e-10}
    direct, adjoint = (gradient(built("neural_ode", adjoint=adjoint, **fields), x) for adjoint in (False, True))
    assert 0 < float((direct - adjoint).norm() / direct.norm()) < 1e-6


def test_a_layer_solves_its_equation(library):
    """ẏ = tanh(y) has sinh y(t) = eᵗ sinh y(0)."""
    theta = {"K": torch.eye(1, dtype=torch.float64), "b": torch.zeros(1, dtype=torch.float64)}
    y = torch.tensor([[0.3]], dtype=torch.float64)
    (found,) = Odeint("dopri5", 1e-11, 1e-12).step(theta, (y,), 0.7)
    torch.testing.assert_close(found.sinh(), y.sinh() * torch.tensor(0.7, dtype=torch.float64).exp(), rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    ("fields", "offers"),
    [({}, DERIVATIVES), ({"solver": "dopri5"}, {"grad"}), ({"adjoint": True}, {"grad"})],
)
def test_adaptive_steps_offer_gradients_only(fields, offers):
    assert network("neural_ode", **fields).offers == offers
