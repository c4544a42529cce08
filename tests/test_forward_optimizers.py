"""The optimizers on random tangents: steps in closed form, refusals, what they ask for, and how they contract."""

import re
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from baselines.analytic import function_oracle
from baselines.flops import Meter
from baselines.forward.fgd import Fgd
from baselines.forward.fomoh import Fomoh
from baselines.forward.fomoh_bp import FomohBP
from baselines.forward.fomoh_kd import FomohKD
from baselines.forward.fomoh_kd_safe import FomohKDSafe
from baselines.forward.fomoh_line_search import FomohLineSearch
from baselines.forward.hizoo import Hizoo
from baselines.forward.mezo import Mezo
from baselines.forward.multi_tangent import MultiTangent
from baselines.forward.newton import Newton
from baselines.forward.randomized_subspace_newton import RandomizedSubspaceNewton
from baselines.forward.solve import projected, pseudo_inverse, raw_inverse, safeguarded, shifted
from baselines.forward.subspace_gauss_newton import SubspaceGaussNewton
from baselines.forward.subspace_limits import SubspaceLimits, rosenbrock, shares
from baselines.forward.tangents import KINDS, draw, gaussian
from baselines.oracle import Objective, Oracle
from baselines.standard.mlp import Mlp
from suite.trial import Trial
from tasks.wine import Wine

SUBSPACE = [
    Fgd(K=3), MultiTangent(K=3), FomohKD(K=3), FomohKDSafe(K=3), SubspaceGaussNewton(K=3),
    RandomizedSubspaceNewton(K=3), FomohLineSearch(K=3),
]  # fmt: skip


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def on_data(loss=F.mse_loss):
    """An oracle of a small network on data, and its parameters."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    x, y = torch.randn(8, 6).double(), torch.randn(8, 3).double()
    oracle = Oracle(Objective(network, loss), Meter({})).bind(x, y.argmax(1) if loss is F.cross_entropy else y, seed=0)
    return oracle, {name: p.detach().clone() for name, p in network.named_parameters()}


def quadratic(diagonal=(4.0, 1.0, 0.25), start=(1.0, -2.0, 3.0)):
    H = vector(*diagonal)
    return function_oracle(lambda x: 0.5 * (H * x.square()).sum(), vector(*start))


def walk(method, function, start, steps):
    """Return the values of the function at the iterates."""
    oracle, params = function_oracle(function, start)
    state, values = method.init(params), [float(function(start))]
    for t in range(steps):
        params, state = method.step(oracle.bind(torch.zeros(1, 0), torch.zeros(1), t), params, state, seeded(t), 1.0)
        values.append(float(function(params["theta"])))
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("seed", range(3))
def test_certificates_hold(seed):
    measurements = list(SubspaceLimits().run(seed))
    assert [m for m in measurements if not m.passed] == []
    assert len({m.quantity for m in measurements}) == len(measurements) == 41


@pytest.mark.parametrize("kind", KINDS)
def test_tangents_have_unit_covariance(kind):
    """Six standard errors: the entries of v vᵀ have variance at most 2."""
    D, draws = 4, 4000
    v = torch.cat([draw(kind, {"v": torch.zeros(D, dtype=torch.float64)}, 2, seeded(s))["v"] for s in range(draws)])
    deviation = (v.T @ v / len(v) - torch.eye(D, dtype=torch.float64)).abs().max()
    assert deviation < 6 * (2 / len(v)) ** 0.5
    norms = v.square().sum(1)
    assert kind == "gaussian" or torch.allclose(norms, torch.full_like(norms, D))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tangents_take_shape_and_dtype(kind, dtype):
    V = draw(kind, {"w": torch.zeros(2, 3, dtype=dtype), "b": torch.zeros((), dtype=dtype)}, 4, seeded())
    assert {name: (leaf.shape, leaf.dtype) for name, leaf in V.items()} == {"w": ((4, 2, 3), dtype), "b": ((4,), dtype)}


@pytest.mark.parametrize(
    ("matrix", "slopes", "expected"),
    [
        ([[2.0, 0.0], [0.0, -4.0]], [1.0, 1.0], [-0.5, 0.25]),
        ([[0.0, 0.0], [0.0, 0.0]], [1.0, 2.0], [-1e3, -2e3]),  # regular from a jitter of 1e-3 on
        ([[-1e-3, 0.0], [0.0, 1.0]], [1.0, 1.0], [1e3, -1.0]),  # regular at once, whatever the jitter would do
        ([[-1e-3, 0.0], [0.0, 0.0]], [1.0, 2.0], [-1 / 9e-3, -200.0]),  # jitter 1e-3 makes another zero
    ],
)
def test_raw_inverse_takes_the_first_regular_matrix(matrix, slopes, expected):
    torch.testing.assert_close(raw_inverse(vector(*slopes), torch.tensor(matrix, dtype=torch.float64)), vector(*expected))


def test_raw_inverse_ends_at_the_identity():
    diagonal = torch.diag(-vector(1e-3, 1e-2, 1e-1, 1.0, 10.0, 0.0))
    torch.testing.assert_close(
        raw_inverse(torch.ones(6, dtype=torch.float64), diagonal), -torch.ones(6, dtype=torch.float64)
    )


@pytest.mark.parametrize("solve", [safeguarded, lambda F, M, d: shifted(F, M, 1.0, d)])
@pytest.mark.parametrize("seed", range(5))
def test_guarded_steps_go_down(solve, seed):
    M = torch.randn(5, 5, generator=seeded(seed), dtype=torch.float64)
    F_ = torch.randn(5, generator=seeded(seed + 9), dtype=torch.float64)
    assert F_ @ solve(F_, M + M.T, 1e-3) < 0
    for delta in (0.0, 1e-3):
        assert solve(torch.ones(5), torch.zeros(5, 5), delta).isfinite().all()
        assert (solve(torch.zeros(5), torch.zeros(5, 5), delta) == 0).all()


def test_dependent_tangents_have_a_projection():
    """The second of two equal tangents adds nothing."""
    kappa = projected(vector(3.0, 3.0), torch.full((2, 2), 4.0, dtype=torch.float64))
    torch.testing.assert_close(kappa, vector(-0.375, -0.375))


def test_a_singular_hessian_gives_the_shortest_newton_step():
    oracle, params = function_oracle(lambda x: 0.5 * (x[0] + x[1] - 2) ** 2 + 0 * x[2], vector(0.0, 0.0, 5.0))
    moved, _ = Newton(safe=False).step(oracle, params, {}, seeded(), 1.0)
    torch.testing.assert_close(moved["theta"], vector(1.0, 1.0, 5.0))
    torch.testing.assert_close(pseudo_inverse(vector(0.0, 0.0), torch.zeros(2, 2)), vector(0.0, 0.0))


@pytest.mark.parametrize("method", SUBSPACE, ids=lambda m: type(m).__name__)
def test_more_tangents_than_parameters_are_refused(method):
    with pytest.raises(ValueError, match=r"^K must be at most the number of parameters, 2, got: 3$"):
        method.init({"theta": torch.zeros(2)})
    assert method.init({"theta": torch.zeros(3)}) == {}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Fgd(K=0), "K must be a whole number >= 1, got: 0"),
        (lambda: Fgd(lr=0.0), "lr must satisfy 0 < lr < inf, got: 0"),
        (lambda: MultiTangent(tangents="cube"), "unknown tangents 'cube'; expected one of gaussian, rademacher, sphere"),
        (lambda: FomohKDSafe(delta=-1.0), "delta must satisfy 0 <= delta < inf, got: -1"),
        (lambda: SubspaceGaussNewton(delta=-1.0), "delta must satisfy 0 <= delta < inf, got: -1"),
        (lambda: FomohLineSearch(halvings=0), "halvings must be a whole number >= 1, got: 0"),
        (lambda: RandomizedSubspaceNewton(rule="rsm"), "unknown rule 'rsm'; expected one of rsn, damped, rs_rnm"),
        (lambda: RandomizedSubspaceNewton(c1=1.0), "c1 must satisfy 1 < c1 < inf, got: 1"),
        (lambda: Fomoh(lr=-1.0), "lr must satisfy 0 < lr < inf, got: -1"),
        (lambda: Fomoh(eps=-5.0), "eps must satisfy 0 <= eps < inf, got: -5"),
        (lambda: FomohBP(lr=-1.0), "lr must satisfy 0 < lr < inf, got: -1"),
        (lambda: FomohBP(eps=-5.0), "eps must satisfy 0 <= eps < inf, got: -5"),
        (lambda: Mezo(eps=0.0), "eps must satisfy 0 < eps < inf, got: 0"),
        (lambda: Hizoo(smoothing=1.0), "smoothing must satisfy 0 < smoothing < 1, got: 1"),
        (lambda: Newton(limit=3).init({"w": torch.zeros(2, 2)}), "newton is for at most 3 parameters, since H has"),
    ],
)
def test_mistakes_are_named(make, said):
    with pytest.raises(ValueError, match="^" + re.escape(said)):
        make()


@pytest.mark.parametrize(
    ("method", "precision", "said"),
    [
        (Fgd(), "float16", "fgd needs jvp, which float16 has no range for: use bfloat16"),
        (Fomoh(), "float16", "fomoh needs curvature, which float16 has no range for: use bfloat16"),
        (Fomoh(), "bfloat16", ""),
        (Mezo(), "float16", ""),
    ],
)
def test_forward_mode_in_float16_is_a_conflict(method, precision, said):
    trial = Trial(task=Wine(), network=Mlp(), optimizer=method, budget=1, precision=precision)
    assert trial.conflict == said


@pytest.mark.parametrize(
    ("method", "calls"),
    [
        (Fgd(), {"jvp": 1}),
        (Fgd(K=3), {"jvps": 1}),
        (MultiTangent(K=3), {"jvps": 1}),
        (FomohKD(K=3), {"curvature": 1}),
        (FomohKDSafe(K=3, lr=0.03), {"curvature": 1, "loss": 1}),
        (FomohKDSafe(K=3, accept=False), {"curvature": 1}),
        (SubspaceGaussNewton(K=3), {"gauss_newton": 1}),
        (SubspaceGaussNewton(K=3, lr=0.03, accept=True), {"gauss_newton": 1, "loss": 1}),
        (RandomizedSubspaceNewton(K=3), {"curvature": 1}),
        (Newton(), {"curvature": 1}),
        (FomohLineSearch(lr=0.03), {"curvature": 1, "loss": 1}),
        (Mezo(), {"loss": 2}),
        (Hizoo(), {"loss": 3}),
    ],
    ids=str,
)
def test_calls_of_a_step(method, calls):
    oracle, params = on_data()
    method.step(oracle, params, method.init(params), seeded(), 1.0)
    assert oracle.meter.calls == calls


@pytest.mark.parametrize("method", [*SUBSPACE[2:5], RandomizedSubspaceNewton(K=3, rule="damped"), MultiTangent(K=3)])
@pytest.mark.parametrize("kind", KINDS)
def test_steps_do_not_depend_on_the_length_of_tangents(method, kind):
    oracle, params = on_data()
    V = draw(kind, params, 3, seeded(2))
    first, second = (method.moved(oracle, params, {n: c * v for n, v in V.items()}, 0.1) for c in (1.0, 100.0))
    for name in params:
        torch.testing.assert_close(first[name], second[name], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("loss", [F.cross_entropy, F.mse_loss])
def test_gauss_newton_is_positive_where_the_hessian_is_not(loss):
    oracle, params = on_data(loss)
    V = gaussian(params, 20, seeded(1))
    G, H = (torch.linalg.eigvalsh(call(params, V)[2]) for call in (oracle.gauss_newton, oracle.curvature))
    assert G[0] > -1e-12 * G[-1]
    assert H[0] < -1e-3 * H[-1]


def test_a_step_along_the_span_is_the_exact_minimiser_on_a_quadratic():
    """Vᵀ∇f = 0 after a full step, for any K."""
    oracle, params = quadratic()
    moved, _ = FomohKD(lr=1.0, K=2).step(oracle, params, {}, seeded(3), 1.0)
    V = gaussian(params, 2, seeded(3))
    assert oracle.jvps(moved, V)[1].abs().max() < 1e-12


@pytest.mark.parametrize(
    "method", [Mezo(lr=1e-2, eps=1e-4), Fgd(lr=1e-2), Hizoo(lr=1e-2, eps=1e-4, smoothing=1e-8)], ids=str
)
def test_zeroth_order_steps_are_forward_gradients_up_to_eps(method):
    """All three move by −η(g·z)z; one z is read off the step, since the direction of a step is z."""
    oracle, params = quadratic()
    moved, _ = method.step(oracle, params, method.init(params), seeded(4), 1.0)
    line = moved["theta"] - params["theta"]
    gradient = oracle.grad(params)[1]["theta"]
    z = torch.randn(3, generator=seeded(4), dtype=torch.float64)
    torch.testing.assert_close(line, -1e-2 * (gradient @ z) * z, rtol=1e-7, atol=1e-7)


def test_hizoo_follows_the_curvature():
    """On a quadratic |f⁺ + f⁻ − 2f|/ε² is (z/√h)ᵀH(z/√h) exactly."""
    oracle, params = quadratic()
    _, state = Hizoo(smoothing=0.5).step(oracle, params, Hizoo().init(params), seeded(4), 1.0)
    z = torch.randn(3, generator=seeded(4), dtype=torch.float64)
    bend = 0.5 * (vector(4.0, 1.0, 0.25) * z.square()).sum()
    torch.testing.assert_close(state["h"]["theta"], 0.5 + 0.5 * bend * z.square(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "method", [FomohKDSafe(lr=1.0, K=2), FomohLineSearch(K=2), FomohLineSearch(lr=10.0), replace(SUBSPACE[4], accept=True)]
)
def test_tested_steps_never_raise_the_loss(method):
    values = walk(method, rosenbrock, vector(-1.2, 1.0, 2.0), 60)
    assert all(after <= before for before, after in pairwise(values.tolist()))
    assert values[-1] < 0.1 * values[0]


def test_rejected_steps_are_halved_and_then_left_out():
    """f = √(x² + 1) + x⁸, and a rate that sends even the third halving far up the wall."""
    oracle, params = function_oracle(lambda x: (x[0] ** 2 + 1) ** 0.5 + x[0] ** 8, vector(-0.9))
    untested, _ = FomohKDSafe(lr=1.0, K=1, accept=False).step(oracle, params, {}, seeded(), 1e4)
    assert oracle.loss(untested) > oracle.loss(params)
    kept, _ = FomohKDSafe(lr=1.0, K=1).step(oracle, params, {}, seeded(), 1e4)
    assert torch.equal(kept["theta"], params["theta"])
    assert oracle.meter.calls["loss"] == 2 + 4
    shorter, _ = FomohLineSearch(lr=1.0, halvings=20).step(oracle, params, {}, seeded(), 1e4)
    assert oracle.loss(shorter) < oracle.loss(params)


def test_fomoh_line_search_on_a_quadratic_is_fomoh():
    oracle, params = quadratic()
    searched, _ = FomohLineSearch(delta=0.0).step(oracle, params, {}, seeded(5), 1.0)
    plain, _ = Fomoh(lr=1.0, eps=0.0).step(oracle, params, {}, seeded(5), 1.0)
    torch.testing.assert_close(searched["theta"], plain["theta"])


@pytest.mark.parametrize("rule", ["rsn", "damped", "rs_rnm"])
def test_randomized_subspace_newton_against_dense_matrices(rule):
    """S = V/√D; the step is −η S (SᵀHS + ρI)⁻¹Sᵀg with ρ as the rule says."""
    start, D, K = vector(0.5, -0.5, 1.0, 2.0), 4, 2
    oracle, params = function_oracle(rosenbrock, start)
    method = RandomizedSubspaceNewton(lr=0.5, K=K, rule=rule)
    moved, _ = method.step(oracle, params, {}, seeded(1), 1.0)
    S = gaussian(params, K, seeded(1))["theta"].T / D**0.5
    gradient, H = oracle.grad(params)[1]["theta"], torch.autograd.functional.hessian(rosenbrock, start)
    M, slopes = S.T @ H @ S, S.T @ gradient
    eigenvalues = torch.linalg.eigvalsh(M)
    below = max(0.0, -float(eigenvalues[0]))
    rho = {
        "rsn": 0.0,
        "damped": below + 1e-3 * float(eigenvalues.abs().max()),
        "rs_rnm": 2 * below + float((D / K) ** 0.5 * slopes.norm()) ** 0.5,
    }[rule]
    step = -0.5 * S @ torch.linalg.solve(M + rho * torch.eye(K, dtype=torch.float64), slopes)
    torch.testing.assert_close(moved["theta"] - start, step, rtol=1e-9, atol=1e-9)


def test_only_isotropic_curvature_contracts_by_the_share_of_dimensions():
    """E[P] = (K/D)·I for H = I alone: at condition 1e4 the smallest eigendirection loses less than a hundredth of K/D."""
    isotropic, steep = (shares(condition, 5, seeded(), draws=2000).mean(0) for condition in (1.0, 1e4))
    error = 6 * (0.1 / 2000) ** 0.5
    assert (isotropic - 0.1).abs().max() < error
    assert steep[0] < 0.01 * 0.1
    assert steep[-1] > 5 * 0.1


@pytest.mark.parametrize(("seed", "iterations"), [(0, 23), (1, 15), (2, 20), (3, 19), (4, None)])
def test_as_many_tangents_as_parameters_are_newton_on_rosenbrock(seed, iterations):
    """In ten dimensions, full steps: the iterations until f < 1e-6 are those of Newton's method, its failure included."""
    torch.manual_seed(seed)
    start = torch.randn(10).double()
    newton, full = (walk(method, rosenbrock, start, 40) for method in (Newton(safe=False), FomohKD(lr=1.0, K=10)))
    arrivals = [next((t for t, value in enumerate(values) if value < 1e-6), None) for values in (newton, full)]
    assert arrivals == [iterations, iterations]
    torch.testing.assert_close(full[:12], newton[:12], rtol=1e-6, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_half_as_many_tangents_as_parameters_are_far_slower(seed):
    torch.manual_seed(seed)
    start = torch.randn(10).double()
    assert walk(FomohKD(lr=1.0, K=5), rosenbrock, start, 150).min() > 1e-2


SEARCHED = (  # in what interval the learning rate is looked for, of the code of the papers where they say
    (Fgd, 1e-5, 1e-1), (MultiTangent, 1e-4, 1.0), (Fomoh, 1e-3, 1.0), (FomohBP, 1e-2, 1.0), (FomohKD, 1e-3, 1.0),
    (FomohKDSafe, 0.03, 1.0), (SubspaceGaussNewton, 0.03, 1.0), (Mezo, 1e-6, 1e-1), (Hizoo, 1e-6, 1e-1),
)  # fmt: skip


@pytest.mark.parametrize(("method", "low", "high"), SEARCHED)
def test_learning_rates_are_looked_for_where_the_papers_do(method, low, high):
    """As many tries over a wider interval would be a coarser search: an unfair one."""
    search = method.__dataclass_fields__["lr"].metadata["search"]
    assert (search.at(0.0), search.at(1.0)) == pytest.approx((low, high))
    assert low <= method().lr <= high
