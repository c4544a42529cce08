"""Expressions, controls and counts of the integrators, and the methods that are no multistep rule."""

import pytest
import torch
from torch import nn

from baselines.analytic import function_oracle
from baselines.flops import Meter
from baselines.integrators.analysis import noise_variance
from baselines.integrators.bdf import Bdf
from baselines.integrators.coefficients import RULES
from baselines.integrators.curvature import step_of
from baselines.integrators.four_point import FourPoint
from baselines.integrators.linear_multistep import LinearMultistep
from baselines.integrators.lookahead import Lookahead
from baselines.integrators.minres import minres
from baselines.integrators.runge_kutta import RungeKutta
from baselines.integrators.runge_kutta_chebyshev import RungeKuttaChebyshev
from baselines.integrators.trajectory import quartic, run
from baselines.oracle import Objective, Oracle
from baselines.standard.nesterov import Nesterov
from baselines.standard.schedule_free_adamw import ScheduleFreeAdamw
from baselines.standard.sgd import Sgd
from suite.catalog import Catalog
from suite.trial import label_of, spec_of

POINT = (1.2, -0.7)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("linear_multistep", "linear_multistep"),
        ("linear_multistep(rule=ab2)", "linear_multistep"),
        ("linear_multistep(rule=nm4_star, start=cold)", "linear_multistep(rule='nm4_star',start='cold')"),
        ("linear_multistep(A=(1.5,-0.5),B=(1,))", "linear_multistep(A=(1.5,-0.5),B=(1.0,))"),
        ("linear_multistep(A=(4/3,-1/3),B=(2/3,))", f"linear_multistep(A=({4 / 3},{-1 / 3}),B=({2 / 3},))"),
        ("four_point(p=0.5)", "four_point(p=0.5)"),
        ("runge_kutta(order=2, batch=fresh)", "runge_kutta(order=2,batch='fresh')"),
        ("runge_kutta_chebyshev(s=3, order=2, eps=0.1)", "runge_kutta_chebyshev(s=3,order=2,eps=0.1)"),
        ("bdf(rule=trapezoidal)", "bdf(rule='trapezoidal')"),
        ("lookahead(base=linear_multistep(rule=nm4), k=6)", "lookahead(base=linear_multistep(rule='nm4'),k=6)"),
    ],
)
def test_expressions_round_trip(text, label):
    method = Catalog().parse("optimizer", text)
    assert label_of(method) == label
    assert Catalog().parse("optimizer", label) == method
    assert spec_of(Catalog().build("optimizer", spec_of(method))) == spec_of(method)


def test_weights_of_a_named_rule_are_that_rule():
    for name, rule in RULES.items():
        given = LinearMultistep(A=tuple(map(float, rule.A)), B=tuple(map(float, rule.B)))
        assert given.scheme == LinearMultistep(rule=name).scheme == rule


@pytest.mark.parametrize(
    ("name", "m"), [("ab2", 0.0), ("nm4", 0.0), ("nm4_star", -1 / 3), ("sbdf2", 1 / 3), ("heavy_ball", 0.9)]
)
def test_the_control_is_heavy_ball_with_the_same_momentum_and_step(name, m):
    control = LinearMultistep(lr=0.3, rule=name).control
    assert float(sum(control.scheme.momentum)) == pytest.approx(m)
    assert len(control.scheme.B) == 1
    assert control.effective_step == pytest.approx(0.3)


def test_a_rule_without_a_stable_control_says_so():
    with pytest.raises(ValueError, match=r"no stable heavy ball of its total momentum -1\.25"):
        _ = LinearMultistep(rule="nm5").control


@pytest.mark.parametrize("weights", ["1/0", "x/2", "'a'/'b'"])
def test_what_is_no_fraction_is_refused(weights):
    with pytest.raises(ValueError, match="is neither a value nor a competitor"):
        Catalog().parse("optimizer", f"linear_multistep(A=(1,),B=({weights},))")


@pytest.mark.parametrize("name", ["ab1", "ab2", "ab3", "nm4_star", "sbdf2", "bdf2_explicit"])
def test_noise_is_amplified_as_the_coefficients_say(name):
    """Many independent variables with white noise in their gradients, hλ = 1/4, after the start is forgotten."""
    generator = torch.Generator().manual_seed(0)

    def noisy(x):
        return x.square().sum() / 8 + x @ torch.randn(len(x), generator=generator, dtype=x.dtype)

    path = run(LinearMultistep(lr=1.0, rule=name), noisy, [0.0] * 4000, 400)[100:]
    sgd = 1 / (0.25 * 1.75)
    assert float(path.square().mean()) == pytest.approx(sgd * noise_variance(RULES[name], 0.25), rel=0.02)


@pytest.mark.parametrize("kind", [LinearMultistep, FourPoint, RungeKutta])
def test_the_step_is_tuned_where_gradient_descent_tunes_its_rate(kind):
    """h is η in the time of the flow: with another range equal points would be other steps, and the control none."""
    ranges = [kind.__dataclass_fields__["lr"].metadata["search"] for kind in (kind, Sgd)]
    assert ranges[0] == ranges[1]


@pytest.mark.parametrize(("p", "name"), [(0.5, "nm4"), (1 / 3, "nm4_star")])
def test_the_family_of_four_points_has_the_named_rules(p, name):
    assert FourPoint(p=p).scheme == RULES[name]
    paths = [run(method, quartic, POINT, 30) for method in (FourPoint(lr=0.1, p=p), LinearMultistep(lr=0.1, rule=name))]
    assert torch.equal(*paths)


def data(sampler=True):
    """An oracle on a batch, which draws further ones, and the starting point."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    draw = torch.Generator().manual_seed(1)

    def batch():
        return torch.randn(8, 4, generator=draw, dtype=torch.float64), torch.arange(8) % 3

    oracle = Oracle(Objective(network, nn.functional.cross_entropy), Meter({}), sampler=batch if sampler else None)
    return oracle.bind(*batch(), seed=0), {name: p.detach().clone() for name, p in network.named_parameters()}


@pytest.mark.parametrize("kind", [RungeKutta, RungeKuttaChebyshev])
def test_fresh_stages_see_other_batches(kind):
    ends = []
    for batch in ("same", "fresh", "fresh"):
        oracle, params = data()
        ends.append(kind(lr=0.1, batch=batch).step(oracle, params, {}, torch.Generator(), 1.0)[0])
        assert oracle.meter.calls == {"grad": kind().analysis.gradients}
    same, fresh, again = (torch.cat([leaf.flatten() for leaf in end.values()]) for end in ends)
    assert torch.equal(fresh, again)
    assert 1e-4 < float((same - fresh).abs().max()) < 0.1
    with pytest.raises(ValueError, match="no stream of further batches"):
        kind(batch="fresh").step(*data(sampler=False), {}, torch.Generator(), 1.0)


@pytest.mark.parametrize(("rule", "newton", "krylov"), [("bdf1", 1, 3), ("bdf3", 2, 4), ("trapezoidal", 1, 1)])
def test_an_implicit_step_counts_what_it_solves_with(rule, newton, krylov):
    oracle, params = data()
    method, state = Bdf(rule=rule, newton=newton, krylov=krylov), None
    state = method.init(params)
    for _ in range(4):
        params, state = method.step(oracle, params, state, torch.Generator(), 1.0)
    assert oracle.meter.calls == {"grad": 4 * newton, "hvp": 4 * newton * krylov}
    assert len(state["increments"]) == max(method.rehearsal - 1, 0) - (rule != "bdf3")


def test_an_implicit_rule_starts_again_where_the_step_changes():
    oracle, params = function_oracle(quartic, torch.tensor(POINT, dtype=torch.float64))
    method = Bdf(lr=0.2, rule="bdf2", newton=2, krylov=2)
    state = method.init(params)
    for _ in range(4):
        params, state = method.step(oracle, params, state, torch.Generator(), 1.0)
    through, _ = method.step(oracle, params, state, torch.Generator(), 0.5)
    anew, _ = method.step(oracle, params, method.init(params), torch.Generator(), 0.5)
    assert torch.equal(through["theta"], anew["theta"])


IMPLICIT_STEPS = {  # γ, and v of the points so far and the gradient at the last of them
    "bdf1": (1, lambda x, hg: x[-1]),
    "bdf2": (2 / 3, lambda x, hg: (4 * x[-1] - x[-2]) / 3),
    "bdf3": (6 / 11, lambda x, hg: (18 * x[-1] - 9 * x[-2] + 2 * x[-3]) / 11),
    "trapezoidal": (1 / 2, lambda x, hg: x[-1] - hg / 2),
}


@pytest.mark.parametrize("rule", IMPLICIT_STEPS)
@pytest.mark.parametrize("h", [0.1, 10.0, 1000.0])
def test_an_implicit_step_on_a_convex_quadratic_is_the_proximal_point(rule, h):
    """θ = argmin f + ‖θ − v‖²/(2γh) on f = θᵀHθ/2 − bᵀθ, where the history is full."""
    generator = torch.Generator().manual_seed(0)
    draw = torch.randn(5, 6, generator=generator, dtype=torch.float64)
    H, b = draw[:, 1:] @ draw[:, 1:].T / 5 + 0.1 * torch.eye(5), draw[:, 0]
    path = run(Bdf(lr=h, rule=rule, krylov=5), lambda x: x @ H @ x / 2 - b @ x, [1.0] * 5, 7)
    gamma, history = IMPLICIT_STEPS[rule]
    for t in range(3, 7):
        v = history(path[: t + 1], h * (H @ path[t] - b))
        expected = torch.linalg.solve(torch.eye(5) + gamma * h * H, v + gamma * h * b)
        torch.testing.assert_close(path[t + 1], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("h", [0.5, 2.0, 10.0])
def test_an_implicit_step_on_a_saddle_solves_its_equation(h):
    """It leaves the saddle along the negative curvature −1 where h < 1 alone, and is finite."""
    path = run(Bdf(lr=h, krylov=2), lambda x: (x[0].square() - x[1].square()) / 2, POINT, 8)
    steps = torch.arange(9, dtype=torch.float64)
    expected = torch.stack([POINT[0] / (1 + h) ** steps, POINT[1] / (1 - h) ** steps], 1)
    torch.testing.assert_close(path, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("h", [0.1, 0.5])
def test_an_implicit_step_of_a_network_leaves_less_to_solve_with_more_products(h):
    """Of the equation θ' + h∇f(θ') = θ, on a minibatch whose Hessian is indefinite."""
    oracle, params = data()
    left = []
    for newton, krylov in ((1, 1), (1, 8), (4, 30)):
        method = Bdf(lr=h, newton=newton, krylov=krylov)
        moved, _ = method.step(oracle, params, method.init(params), torch.Generator(), 1.0)
        slope = oracle.grad(moved)[1]
        left.append(torch.cat([(moved[name] + h * slope[name] - params[name]).flatten() for name in params]).norm())
    assert left[2] < 0.1 * left[1] < 0.1 * left[0]


@pytest.mark.parametrize("shift", [0.0, -3.0])  # positive definite, indefinite
def test_minres_minimises_the_residual_over_the_krylov_space(shift):
    generator = torch.Generator().manual_seed(0)
    draw = torch.randn(8, 8, generator=generator, dtype=torch.float64)
    M, b = draw @ draw.T + (0.5 + shift) * torch.eye(8, dtype=torch.float64), draw[:, 0]
    for iterations in (1, 2, 4):
        space = torch.stack([torch.linalg.matrix_power(M, k) @ b for k in range(iterations)], 1)
        best = space @ torch.linalg.lstsq(M @ space, b[:, None]).solution[:, 0]
        torch.testing.assert_close(minres(lambda v: M @ v, b, iterations), best, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(M @ minres(lambda v: M @ v, b, 8), b, rtol=0, atol=1e-8)


def test_minres_goes_on_where_nothing_is_left_to_do():
    """The Krylov space of an eigenvector has one dimension, that of zero none."""
    M, e = torch.diag(torch.tensor([2.0, -3.0], dtype=torch.float64)), torch.tensor([0.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(minres(lambda v: M @ v, e, 5), -e / 3)
    assert torch.equal(minres(lambda v: M @ v, 0 * e, 5), 0 * e)


@pytest.mark.parametrize(("k", "beta"), [(5, 1 + 3**0.2), (6, 2.0)])
@pytest.mark.parametrize(("factor", "grows"), [(0.98, False), (1.02, True)])
def test_lookahead_is_stable_as_far_as_its_polynomial(k, beta, factor, grows):
    method = Lookahead(base=Sgd(lr=factor * beta), k=k)
    path = run(method, lambda x: x.square().sum() / 2, [1.0], 40 * k).abs()[::k]
    assert bool(path[-1] > path[20]) == grows


def test_lookahead_by_hand():
    """Two rounds of two steps of gradient descent on f = θ²/2: θ ← θ(1 − α + α(1 − η)²)."""
    path = run(Lookahead(base=Sgd(lr=0.3), k=2, alpha=0.8), lambda x: x.square().sum() / 2, [1.0], 4)
    factor = 0.2 + 0.8 * 0.7**2
    assert path.flatten().tolist() == pytest.approx([1.0, 0.7, factor, 0.7 * factor, factor**2])


@pytest.mark.parametrize("alpha", [0.5, 0.8])
def test_lookahead_takes_the_effective_step_that_is_asked_for(alpha):
    """On a slope of one a round of k steps goes kh, and h is that of an integrator for the probes."""
    base = LinearMultistep(lr=0.1, rule="ab1")
    own, asked = (Lookahead(base=base, k=5, alpha=alpha, lr_is=kind) for kind in ("eta", "heff"))
    for method, h in ((own, 0.1 * alpha), (asked, 0.1)):
        assert run(method, lambda x: x.sum(), [0.0], 15)[-1].item() == pytest.approx(-15 * h)
        assert step_of(method) == pytest.approx(h)


@pytest.mark.parametrize("base", [Nesterov(lr=0.05), LinearMultistep(lr=0.05, rule="nm4_star")])
def test_lookahead_at_alpha_one_is_its_base(base):
    assert torch.equal(run(Lookahead(base=base, alpha=1.0), quartic, POINT, 13), run(base, quartic, POINT, 13))


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        *(
            (kind, {"lr": lr}, "lr must be positive")
            for kind, lr in ((LinearMultistep, -1.0), (FourPoint, 0.0), (Bdf, -0.1))
        ),
        *((kind, {"lr": float("nan")}, "lr must be positive") for kind in (RungeKutta, RungeKuttaChebyshev)),
        (RungeKutta, {"order": 5}, "unknown order 5 of runge_kutta; expected one of 2, 3, 4"),
        (RungeKutta, {"batch": "new"}, "unknown batch 'new'"),
        (RungeKuttaChebyshev, {"order": 3}, "unknown order 3 of runge_kutta_chebyshev; expected one of 1, 2"),
        (RungeKuttaChebyshev, {"s": 1, "order": 2}, "s must be at least the order 2, got: 1"),
        (RungeKuttaChebyshev, {"eps": -1.0}, "0 <= eps <= 100, got: -1"),
        (FourPoint, {"p": 1.0}, "0 < p < 1, got: 1"),
        (Bdf, {"rule": "bdf9"}, "unknown rule 'bdf9' of bdf; expected one of bdf1, bdf2, bdf3, trapezoidal"),
        (Bdf, {"krylov": 0}, "krylov must be a whole number >= 1"),
        (Lookahead, {"k": 0}, "k must be a whole number >= 1"),
        (Lookahead, {"lr_is": "h"}, "unknown lr_is 'h' of lookahead; expected one of eta, heff"),
        (Lookahead, {"alpha": 0.0}, "0 < alpha <= 1, got: 0"),
        (Lookahead, {"base": ScheduleFreeAdamw()}, "evaluates at the parameters it trains"),
    ],
)
def test_what_makes_no_sense_is_refused(kind, fields, message):
    with pytest.raises(ValueError, match=message):
        kind(**fields)
