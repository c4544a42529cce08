"""Limit certificates of `FLinear`: order 1 is ordinary, closed forms are the dense Jacobian, reference values at 1/2."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from baselines.contract import Check, Measurement
from baselines.fractional.flinear import FLinear
from baselines.fractional.jacobian import contracted, fractional_jacobian
from baselines.fractional.modes import MODES
from baselines.fractional.rules import power_rule, reciprocal_gamma

# a: (1/Γ(2-a), 1/Γ(1-a)), computed with 30 digits
RECIPROCAL_GAMMAS = {
    0.1: (1.0397541343476364, 0.93577872091287277),
    0.3: (1.1005474055236657, 0.770383183866566),
    0.5: (1.1283791670955126, 0.56418958354775629),
    0.7: (1.1142425085473018, 0.33427275256419055),
    0.9: (1.0511370061117778, 0.10511370061117778),
    0.99: (1.0057065285003851, 0.010057065285003851),
    1.0: (1.0, 0.0),
    1.1: (0.93577872091287277, -0.093577872091287277),
    1.5: (0.56418958354775629, -0.28209479177387814),
    1.9: (0.10511370061117778, -0.094602330550060003),
}
HALF_DERIVATIVE_OF_SQUARE = 1.50450555612735009852821187  # D^1/2 x² at x = 1

X = [[1.0, -2.0], [0.5, 3.0]]
W = [[0.25, -1.0], [4.0, 0.16]]
B = [0.5, -1.0]
G = [[1.0, -1.0], [2.0, 0.5]]
GOLDEN = {  # mode: (gradient of W, gradient of X) at order 1/2, eps = 0
    "power": (
        [[1.1283791670955126, 4.51351666838205], [-1.692568750643269, 1.5797308339337177]],
        [[-4.231421876608172, -1.8510921810626475], [1.9947114020071633, -3.7524672914144244]],
    ),
    "own": (
        [[-1.692568750643269, 3.385137501286538], [-1.3935482713629581, -1.9464540632397592]],
        [[-2.0762176674557433, -0.953472050159424], [-2.202161387815908, -3.182431027527685]],
    ),
    "full": (
        [[-3.881624334808563, 4.479665293369185], [-1.957737854910714, -4.767401980978539]],
        [[-4.338617897482245, 0.6462864942503208], [-2.1463094685597075, -3.159629576972215]],
    ),
    "a11": (
        [[-1.692568750643269, 3.385137501286538], [-4.654564064268989, 4.196160027636437]],
        [[-2.0762176674557433, -0.953472050159424], [5.269530710336044, -4.260703554687301]],
    ),
}
ORDERS = (0.3, 0.5, 0.9)
CLOSE = 1e-6  # how far from order 1 the continuity in the order is tried
ROUNDING = 1e-14


class FractionalLimits(Check):
    """At order 1 `FLinear` is `nn.Linear`, near 1 its gradient is near, at 1/2 it and 1/Γ meet reference values.

    At the other orders its gradients are those of the dense Jacobian, and not those of its output: finite differences
    agree at order 1 and disagree at 0.9.
    """

    def run(self, seed: int) -> Iterator[Measurement]:
        """Yield largest absolute differences in float64; the layers near order 1 are drawn from `seed`."""
        for mode in MODES:
            at_one, near_one = ordinary_differences(mode, 1.0, seed), ordinary_differences(mode, 1 - CLOSE, seed)
            yield Measurement(f"{mode}_order_1_output", at_one[0], 0.0, 0.0)
            yield Measurement(f"{mode}_order_1_gradient", at_one[1], 0.0, 0.0)
            # the entries are away from zero, so that their derivatives in the order stay below a hundred
            yield Measurement(f"{mode}_near_order_1_gradient", near_one[1], 0.0, 1e2 * CLOSE)
            yield Measurement(f"{mode}_dense_jacobian", max(jacobian_difference(mode, a, seed) for a in ORDERS), 0.0, 1e-12)
            yield Measurement(f"{mode}_gradcheck_at_order_1", is_gradient(mode, 1.0, seed), 1.0, 1.0)
            yield Measurement(f"{mode}_gradcheck_at_order_0.9", is_gradient(mode, 0.9, seed), 0.0, 0.0)
        for mode in GOLDEN:
            yield Measurement(f"{mode}_order_half_gradient", golden_difference(mode), 0.0, ROUNDING)
        errors = [abs(reciprocal_gamma(n - a) - pair[2 - n]) for a, pair in RECIPROCAL_GAMMAS.items() for n in (1, 2)]
        yield Measurement("reciprocal_gamma", max(errors), 0.0, ROUNDING)
        yield Measurement("reciprocal_gamma_poles", max(abs(reciprocal_gamma(-float(n))) for n in range(20)), 0.0, 0.0)
        yield Measurement("half_derivative_of_square", abs(power_rule(2.0, 0.5) - HALF_DERIVATIVE_OF_SQUARE), 0.0, ROUNDING)


def ordinary_differences(mode: str, alpha: float, seed: int) -> tuple[float, float]:
    """Return the largest difference between `FLinear` and `nn.Linear`, in the output and in the three gradients."""
    generator = torch.Generator().manual_seed(seed)
    x, weight, bias, incoming = (_away_from_zero(shape, generator) for shape in ((7, 5), (3, 5), (3,), (7, 3)))
    layer = FLinear(5, 3, alpha=alpha, mode=mode, frac_bias=True, device="meta")
    output, *grads = gradients(layer, x, weight, bias, incoming)
    expected, *expected_grads = gradients(nn.Linear(5, 3, device="meta"), x, weight, bias, incoming)
    return _distance([output], [expected]), _distance(grads, expected_grads)


def golden_difference(mode: str) -> float:
    """Return the largest difference of the gradients of the golden case from its reference values."""
    layer = FLinear(2, 2, alpha=0.5, mode=mode, eps=0.0, device="meta")
    x, weight, bias, incoming, *expected = (torch.tensor(rows, dtype=torch.float64) for rows in (X, W, B, G, *GOLDEN[mode]))
    _, of_x, of_weight, _ = gradients(layer, x, weight, bias, incoming)
    return _distance([of_weight, of_x], expected)


def jacobian_difference(mode: str, alpha: float, seed: int) -> float:
    """Return the largest difference of the gradients of input and weight from those of the dense Jacobian."""
    generator = torch.Generator().manual_seed(seed)
    x, weight, bias, incoming = (_away_from_zero(shape, generator) for shape in ((4, 3), (2, 3), (2,), (4, 2)))
    layer = FLinear(3, 2, alpha=alpha, mode=mode, eps=0.0, device="meta")
    _, of_x, of_weight, _ = gradients(layer, x, weight, bias, incoming)
    caputo = mode == "power"
    for_x = fractional_jacobian(weight, x.T, bias[:, None], alpha, caputo=caputo)  # Yᵀ = W Xᵀ + b
    for_weight = fractional_jacobian(x, weight.T, bias, alpha, caputo=caputo)  # Y = X Wᵀ + b
    expected = [contracted(mode, for_x, incoming.T).T, contracted(mode, for_weight, incoming).T]
    return _distance([of_x, of_weight], expected)


def is_gradient(mode: str, alpha: float, seed: int) -> float:
    """Return 1 if the gradient of the input is that of the output by finite differences, else 0."""
    generator = torch.Generator().manual_seed(seed)
    x, weight, bias = (_away_from_zero(shape, generator) for shape in ((4, 3), (2, 3), (2,)))
    layer = FLinear(3, 2, alpha=alpha, mode=mode, device="meta")
    layer.load_state_dict({"weight": weight, "bias": bias}, assign=True)
    return float(torch.autograd.gradcheck(layer, x.requires_grad_(), raise_exception=False))


def gradients(module: nn.Linear, x: Tensor, weight: Tensor, bias: Tensor, incoming: Tensor) -> tuple[Tensor, ...]:
    """Return the output, and the gradients of input, weight and bias for the gradient `incoming` of the output."""
    module.load_state_dict({"weight": weight, "bias": bias}, assign=True)  # the module may be built on the meta device
    x = x.detach().requires_grad_()
    output = module(x)
    return output.detach(), *torch.autograd.grad(output, (x, module.weight, module.bias), incoming)


def _away_from_zero(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw entries of either sign with 1/2 <= |v| < 3/2: the powers of negative order blow up at zero."""
    v = 2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1
    return v + 0.5 * v.sign()


def _distance(values: list[Tensor], expected: list[Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(values, expected, strict=True))
