"""Limit certificates of steps within span(V): Newton at K = D, unbiased forward gradients, contraction by eigendirection."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from baselines.analytic import function_oracle
from baselines.contract import Check, Measurement, Optimizer, Params
from baselines.forward.fgd import Fgd
from baselines.forward.fomoh import Fomoh
from baselines.forward.fomoh_kd import FomohKD
from baselines.forward.fomoh_kd_safe import FomohKDSafe
from baselines.forward.multi_tangent import MultiTangent
from baselines.forward.newton import Newton
from baselines.forward.randomized_subspace_newton import RandomizedSubspaceNewton
from baselines.forward.solve import raw_inverse, safeguarded
from baselines.forward.subspace import move, plane_coefficient
from baselines.forward.subspace_gauss_newton import SubspaceGaussNewton
from baselines.forward.tangents import gaussian, identity, unflatten
from baselines.oracle import Oracle

DELTA = 1e-3
# Point, then where Newton's step with V = I ends: raw, and with absolute eigenvalues damped by 1e-3 of the largest.
SADDLE = ((1.0, 1.0), (0.0, 0.0), (1 - 1 / 1.001, 1 + 1 / 1.001))
ROSENBROCK = ((0.0, 1.0), (-0.005025125628140704, 0.0), (0.0050201055226180855, 0.001986047764947707))
FOUR = (0.5, -0.5, 1.0, 2.0)  # a point of Rosenbrock's function with an indefinite Hessian
FOUR_GRADIENT = (149.0, -3.0, -250.0, 200.0)
FOUR_EIGENVALUES = (-127.51837799562668, 68.39160880206441, 573.5422755969901, 891.5844935965722)
# condition: K → E[P_ii] for the smallest, the middle and the largest of 50 eigenvalues, log-spaced from 1
CONTRACTION = {
    (1.0, 5): (0.1, 0.1, 0.1), (1e2, 5): (0.0062, 0.059, 0.360),
    (1e2, 25): (0.096, 0.508, 0.906), (1e4, 5): (0.00015, 0.016, 0.572),
}  # fmt: skip
DRAWS = 400


class SubspaceLimits(Check):
    """The optimizers on K tangents against closed forms, in float64 and through the oracle.

    Largest absolute errors of: full steps with K = D on a convex quadratic from its minimiser; steps at a saddle and at an
    indefinite point of Rosenbrock's function; ten steps from Newton's; derivatives; softmax and Gauss–Newton; forward
    gradients averaged over all sign vectors, or over an orthonormal basis, from the gradient; V → 1000 V. Then the share of
    the error that one step removes by eigendirection, which is K/D only if all eigenvalues are equal.
    """

    def run(self, seed: int) -> Iterator[Measurement]:
        """Yield the errors, all of them rounding, and the shares by Monte Carlo."""
        generator = torch.Generator().manual_seed(seed)
        yield from _newton(generator)
        yield from _indefinite()
        yield from _rosenbrock_newton()
        yield from _softmax()
        yield from _unbiased(generator)
        yield from _contraction(generator)


def rosenbrock(x: Tensor) -> Tensor:
    """Return Σ (1 − x_i)² + 100 (x_{i+1} − x_i²)²."""
    return ((1 - x[:-1]).square() + 100 * (x[1:] - x[:-1].square()).square()).sum()


def shares(condition: float, count: int, generator: torch.Generator, draws: int = DRAWS, dimension: int = 50) -> Tensor:
    """Return the diagonal of P for `draws` draws of V, shape (draws, D): what one full step removes by eigendirection.

    P = H^½V(VᵀHV)⁻¹VᵀH^½ projects the error in the metric of H = diag(λ), λ log-spaced from 1 to `condition`; its trace is
    K. Only for H = I is E[P] = (K/D)·I.
    """
    root = torch.logspace(0, 0.5, dimension, base=condition, dtype=torch.float64)
    flat = gaussian({"v": torch.empty(dimension, dtype=torch.float64)}, draws * count, generator)["v"]
    basis = torch.linalg.qr((flat * root).reshape(draws, count, dimension).mT)[0]
    return basis.square().sum(-1)


def _newton(generator: torch.Generator) -> Iterator[Measurement]:
    """Take f = ½ (θ − m)ᵀH(θ − m), H = MMᵀ + I: whatever V is, K = D leads to m."""
    dimension = 6
    M, (start, minimiser) = (torch.randn(n, dimension, generator=generator, dtype=torch.float64) for n in (dimension, 2))
    H = M @ M.T + torch.eye(dimension, dtype=torch.float64)
    oracle, params = function_oracle(lambda x: 0.5 * (x - minimiser) @ H @ (x - minimiser), start)
    methods: list[Optimizer] = [
        Newton(safe=False), FomohKD(lr=1.0, K=dimension), FomohKDSafe(lr=1.0, K=dimension, delta=0.0),
        SubspaceGaussNewton(lr=1.0, K=dimension, delta=0.0), RandomizedSubspaceNewton(lr=1.0, K=dimension, rule="rsn"),
    ]  # fmt: skip
    for method in methods:
        moved, _ = method.step(oracle, params, method.init(params), generator, 1.0)
        error = (moved["theta"] - minimiser).abs().max()
        yield Measurement(f"quadratic_{type(method).__name__}".lower(), float(error), 0.0, 1e-8)  # V may be near singular
    for kind in ("gaussian", "rademacher", "sphere", "orthonormal"):
        yield Measurement(f"one_tangent_{kind}", _ratio(oracle, params, kind), 0.0, 1e-12)


def _ratio(oracle: Oracle, params: Params, kind: str) -> float:
    """Return how far the safeguarded step with one tangent is from FoMoH's over 1 + δ; draws for K = 1 agree if Gaussian."""
    safe = FomohKDSafe(lr=1.0, K=1, delta=DELTA, tangents=kind, accept=False)  # type: ignore[arg-type]
    moved, _ = safe.step(oracle, params, {}, torch.Generator().manual_seed(1), 1.0)
    line = moved["theta"] - params["theta"]
    V = {"theta": line.unsqueeze(0)}
    _, slopes, curvature = oracle.curvature(params, V)
    exact = plane_coefficient(slopes, curvature, 0.0)  # of the step itself: 1 + δ
    if kind == "gaussian":
        fomoh, _ = Fomoh(lr=1.0, eps=0.0).step(oracle, params, {}, torch.Generator().manual_seed(1), 1.0)
        return float((fomoh["theta"] - params["theta"] - (1 + DELTA) * line).abs().max())
    return float((exact - (1 + DELTA)).abs().max())


def _indefinite() -> Iterator[Measurement]:
    functions = {"saddle": (lambda x: 0.5 * (x[0] ** 2 - x[1] ** 2), SADDLE), "rosenbrock": (rosenbrock, ROSENBROCK)}
    for name, (function, (start, raw, safe)) in functions.items():
        oracle, params = function_oracle(function, _vector(start))
        for scale in (1.0, 1000.0):
            V = {"theta": scale * identity(params)["theta"]}
            _, slopes, matrix = oracle.curvature(params, V)
            for rule, kappa, end in (
                ("raw", raw_inverse(slopes, matrix), raw), ("safe", safeguarded(slopes, matrix, DELTA), safe),
            ):  # fmt: skip
                error = (move(params, V, kappa, 1.0)["theta"] - _vector(end)).abs().max()
                yield Measurement(f"{name}_{rule}_{scale:g}", float(error), 0.0, 1e-12)
    oracle, params = function_oracle(rosenbrock, _vector(FOUR))
    value, gradient, hessian = oracle.curvature(params, identity(params))
    error = (gradient - _vector(FOUR_GRADIENT)).abs().max() + (value - 215).abs()
    yield Measurement("rosenbrock_4_gradient", float(error), 0.0, 1e-11)
    error = (torch.linalg.eigvalsh(hessian) - _vector(FOUR_EIGENVALUES)).abs().max()
    yield Measurement("rosenbrock_4_eigenvalues", float(error), 0.0, 1e-10)


def _rosenbrock_newton() -> Iterator[Measurement]:
    """Compare the first ten iterates of K = D with those of Newton's raw steps, relative to the norm of the latter.

    The starts are the same for all seeds: from other ones a nearly singular matrix may blow rounding up beyond the bound.
    """
    for number in (0, 1):
        generator = torch.Generator().manual_seed(number)
        start = torch.randn(10, generator=generator, dtype=torch.float64)
        oracle, full = function_oracle(rosenbrock, start)
        newton, largest = start, 0.0
        for _ in range(10):
            full, _ = FomohKD(lr=1.0, K=10).step(oracle, full, {}, generator, 1.0)
            hessian = torch.autograd.functional.hessian(rosenbrock, newton)
            newton = newton - torch.linalg.solve(hessian, torch.autograd.functional.jacobian(rosenbrock, newton))
            largest = max(largest, float((full["theta"] - newton).norm() / newton.norm()))
        yield Measurement(f"rosenbrock_newton_{number}", largest, 0.0, 1e-6)


def _softmax() -> Iterator[Measurement]:
    """Logits (0, ln 2, ln 3), target 2: p = (1/6, 1/3, 1/2)."""
    oracle, params = function_oracle(lambda z: cross_entropy(z, torch.tensor(2)), _vector((1.0, 2.0, 3.0)).log())
    V = {"theta": torch.tensor([[1.0, -1.0, 0.0], [0.0, 1.0, 2.0]], dtype=torch.float64)}
    value, slopes, matrix = oracle.gauss_newton(params, V)
    found = torch.cat([value.exp().reshape(1), slopes, matrix.flatten()])
    error = (found - _vector((2.0, -1 / 6, -2 / 3, 17 / 36, -1 / 9, -1 / 9, 5 / 9))).abs().max()
    yield Measurement("softmax_gauss_newton", float(error), 0.0, 1e-14)


def _unbiased(generator: torch.Generator) -> Iterator[Measurement]:
    start = torch.randn(4, generator=generator, dtype=torch.float64)
    oracle, params = function_oracle(rosenbrock, start)
    gradient = oracle.grad(params)[1]["theta"]
    scale = gradient.norm()
    signs = unflatten(torch.tensor(list(product((1.0, -1.0), repeat=4)), dtype=torch.float64), params)
    mean = (oracle.jvps(params, signs)[1] @ signs["theta"]) / 16
    yield Measurement("mean_over_all_signs", float((mean - gradient).norm() / scale), 0.0, 1e-13)
    for method in (Fgd(lr=1.0, K=4, tangents="orthonormal"), MultiTangent(lr=1.0, K=4, tangents="orthonormal")):
        moved, _ = method.step(oracle, params, {}, generator, 1.0)
        error = (params["theta"] - moved["theta"] - gradient).norm() / scale
        yield Measurement(f"{type(method).__name__}_orthonormal_basis".lower(), float(error), 0.0, 1e-13)


def _contraction(generator: torch.Generator) -> Iterator[Measurement]:
    """Compare means over the draws with the table within five standard errors of theirs, and its rounding."""
    for (condition, count), expected in CONTRACTION.items():
        diagonal = shares(condition, count, generator)
        yield Measurement(f"trace_{condition:g}_{count}", float((diagonal.sum(1) - count).abs().max()), 0.0, 1e-10)
        for place, index, share in zip(("smallest", "middle", "largest"), (0, 25, 49), expected, strict=True):
            drawn = diagonal[:, index]
            slack = 5 * float(drawn.std()) / DRAWS**0.5 + 0.03 * share
            yield Measurement(f"share_{condition:g}_{count}_{place}", float(drawn.mean()), share - slack, share + slack)


def _vector(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)
