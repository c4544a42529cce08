"""Coefficients of integrators and what is computed from them alone."""

from fractions import Fraction as Fr
from functools import partial
from math import inf

import numpy as np
import pytest
from numpy.polynomial import Chebyshev

from baselines.integrators import chebyshev, tableaux
from baselines.integrators.analysis import analyse, boundary_locus, noise_variance, spectral_radius
from baselines.integrators.coefficients import IMPLICIT, NAMED, RULES, Rule, adams_weights, as_rule, four_point, heavy_ball
from baselines.integrators.properties import table
from baselines.integrators.rates import cost_ratio, growth_of
from baselines.integrators.reference import CHEBYSHEV, FOUR_POINT, MULTISTEP, RUNGE_KUTTA
from baselines.integrators.regions import chebyshev_boundary, tableau_boundary
from suite import listing
from suite.catalog import Catalog


def rule(A, B):
    return Rule(tuple(map(Fr, A)), tuple(map(Fr, B)))


@pytest.mark.parametrize("name", MULTISTEP)
def test_analysis_of_known_rules(name):
    order, constant, zero_stable, parasitic, beta = MULTISTEP[name]
    found = analyse(NAMED[name])
    assert (found.order, found.error_constant, found.zero_stable) == (order, Fr(constant), zero_stable)
    assert found.parasitic == pytest.approx(parasitic, abs=1e-4)
    assert found.beta == pytest.approx(beta, abs=1e-6)


def test_every_rule_is_in_the_table():
    assert {*RULES, *IMPLICIT} == NAMED.keys() == MULTISTEP.keys()


@pytest.mark.parametrize("p", FOUR_POINT)
def test_stability_of_the_four_point_family(p):
    """All order-two rules of four points and one gradient: β = min(4p/(1 − p), (1 − p)/p), C = (1 + 2p)/(6(1 − p))."""
    found, p = analyse(four_point(Fr(p))), Fr(p)
    assert (found.order, found.error_constant) == (2, (1 + 2 * p) / (6 * (1 - p)))
    assert found.beta == pytest.approx(float(min(4 * p / (1 - p), (1 - p) / p)), abs=1e-6)


def test_a_double_root_on_the_circle_is_not_zero_stable():
    """ρ = (z − 1)(z + 1)²."""
    assert not analyse(rule([-1, 1, 1], [4])).zero_stable


@pytest.mark.parametrize(("A", "message"), [((1, 1), "must sum to 1: 2"), ((2, -1), "no effective step")])
def test_rules_that_integrate_nothing_are_refused(A, message):
    with pytest.raises(ValueError, match=message):
        analyse(rule(A, [1]))


def test_weights_given_as_floats_are_the_fractions_that_are_meant():
    assert as_rule((4 / 3, -1 / 3), (2 / 3,)) == NAMED["bdf2_explicit"]
    assert as_rule((1.5, -1.0, 0.5), (1.0,)) == NAMED["nm4"]
    m = 0.6694214876033058  # the best momentum for a condition of 100: no simple fraction
    assert sum(as_rule((1 + m, -m), (1.0,)).A) == 1 == sum(heavy_ball(m).A)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_adams_weights_of_equal_steps_are_the_table(k):
    assert tuple(adams_weights([Fr(1, 3)] * k)) == RULES[f"ab{k}"].B
    assert RULES[f"ab{k}"].has_own_step


def test_only_adams_rules_have_weights_for_unequal_steps():
    assert [name for name, known in NAMED.items() if known.has_own_step] == ["ab1", "ab2", "ab3", "ab4", "ab5"]


@pytest.mark.parametrize("r", [Fr(1, 2), Fr(3), Fr(7, 5)])
def test_adams_weights_of_two_steps(r):
    assert adams_weights([r, Fr(1)]) == [1 + r / 2, -r / 2]


def test_adams_weights_integrate_polynomials_exactly():
    """∫₀^h (3 − t + 5t³) dt over unequal steps."""
    steps = [Fr(1, 2), Fr(1, 3), Fr(2), Fr(1, 5)]
    times = [-sum(steps[1 : j + 1], Fr(0)) for j in range(4)]
    h = steps[0]
    total = h * sum(w * (3 - t + 5 * t**3) for w, t in zip(adams_weights(steps), times, strict=True))
    assert total == 3 * h - h**2 / 2 + 5 * h**4 / 4


@pytest.mark.parametrize("name", ["ab2", "nm4_star", "sbdf2", "heavy_ball"])
def test_noise_variance_is_the_sum_of_squared_responses(name):
    """The response to one disturbance, step by step."""
    known, z = NAMED[name], 0.3
    eta = 1 / float(known.time_scale)
    theta, gradients, squares = [0.0] * 9, [0.0] * 9, 0.0
    for step in range(3000):
        gradients = [z * theta[0] + (step == 0), *gradients[:8]]
        new = sum(float(a) * t for a, t in zip(known.A, theta, strict=False))
        new -= eta * sum(float(b) * g for b, g in zip(known.B, gradients, strict=False))
        theta = [new, *theta[:8]]
        squares += new * new
    assert noise_variance(known, z) == pytest.approx(squares * z * (2 - z), rel=1e-9)


@pytest.mark.parametrize("z", [0.1, 0.5, 1.5])
def test_noise_variance_of_implicit_rules(z):
    """Backward Euler by hand, and the others by the sum of squares of the response, divided out as a power series."""
    assert noise_variance(NAMED["bdf1"], z) == pytest.approx((2 - z) / (2 + z))
    for name in IMPLICIT:
        known = NAMED[name]
        A, B = ([*map(float, some)] + [0.0] * (4 - len(some)) for some in (known.A, known.B))
        below = np.array([1 + z * float(known.C), *(z * b - a for a, b in zip(A, B, strict=True))])
        above = np.array([float(known.C), *B])
        response: list[float] = []
        for n in range(2000):
            done = sum(below[j] * response[n - j] for j in range(1, min(n, 4) + 1))
            response.append(((above[n] if n < len(above) else 0.0) - done) / below[0])
        assert noise_variance(known, z) == pytest.approx(sum(r * r for r in response) * z * (2 - z), rel=1e-9)


def test_noise_of_an_unstable_rule_is_infinite():
    assert noise_variance(NAMED["ab4"], 0.5) == inf


@pytest.mark.parametrize("name", [name for name, row in MULTISTEP.items() if row[2] and name != "leapfrog"])
def test_the_boundary_has_a_root_on_the_circle(name):
    angles = np.linspace(0.3, 3.0, 7)
    points = boundary_locus(NAMED[name], angles)
    right, left = (spectral_radius(NAMED[name], points + shift) for shift in (1e-6, -1e-6))
    assert (spectral_radius(NAMED[name], points) > 1 - 1e-9).all()
    assert ((right > 1) != (left > 1)).any()


EDGES = [
    *((tableau_boundary(o, 8), tableaux.analyse_tableau(o), partial(tableaux.amplification, o)) for o in RUNGE_KUTTA),
    *(
        (chebyshev_boundary(*given, 8), chebyshev.analyse_chebyshev(*given), partial(chebyshev.amplification, *given))
        for given in CHEBYSHEV if given[2]
    ),
]  # fmt: skip


@pytest.mark.parametrize(("points", "found", "growth"), EDGES)
def test_boundaries_of_one_step_schemes(points, found, growth):
    """Every point is on the edge, and it leads from 0 to the largest stable step through the upper half plane."""
    assert np.abs(growth(-points)) == pytest.approx(1.0, abs=3e-4)
    assert points[0] == 0
    assert points[-1] == pytest.approx(found.beta, rel=1e-5, abs=1e-5)
    assert (points[1:-1].imag > 0).all()


@pytest.mark.parametrize("order", RUNGE_KUTTA)
def test_stability_of_explicit_schemes(order):
    found = tableaux.analyse_tableau(order)
    assert found.beta == pytest.approx(RUNGE_KUTTA[order], rel=1e-5)
    assert found.error_constant == Fr(1, (2, 6, 24, 120)[order - 1])


@pytest.mark.parametrize("given", CHEBYSHEV, ids=str)
def test_stability_of_stabilised_schemes(given):
    beta, at_minus_one = CHEBYSHEV[given]
    assert chebyshev.analyse_chebyshev(*given).beta == pytest.approx(beta, rel=1e-5)
    order, h = given[0], 1e-2
    defect = np.exp(-h) - chebyshev.amplification(*given, np.array(-h))  # C (−h)^{p+1}, and terms beyond
    assert defect / (-h) ** (order + 1) == pytest.approx(float(chebyshev.analyse_chebyshev(*given).error_constant), rel=0.02)
    if at_minus_one is not None:
        assert chebyshev.amplification(*given, np.array(-1.0)) == pytest.approx(at_minus_one, abs=1e-6)


@pytest.mark.parametrize(("s", "short", "long"), [(3, 1.939, 12.25), (5, 3.144, 20.40), (10, 6.209, 40.80)])
def test_the_best_step_of_many_stages_on_a_small_condition(s, short, long):
    """With R(z) = T_s(w_0 + w_1z)/T_s(w_0): brute force over all steps, and over those with every hλ where R is damped."""
    T = Chebyshev.basis(s)
    w0 = 1 + 0.05 / s**2
    steps = np.geomspace(0.05, 2 * w0 * T.deriv()(w0) / T(w0), 4000)[:, None]
    rates = np.abs(T(w0 - T(w0) / T.deriv()(w0) * steps * np.geomspace(0.1, 1, 1000)) / T(w0)).max(axis=1)
    damped = steps[:, 0] > 0.55 * steps[-1, 0]
    costs = [s * np.log(9 / 11) / np.log(some.min()) for some in (rates, rates[damped])]
    assert costs == pytest.approx([short, long], rel=2e-3)
    assert cost_ratio(*growth_of(f"rkc1_{s}"), 10.0) == pytest.approx(short, rel=2e-3)


def test_the_table_of_schemes_is_listed_with_the_optimizers_of_the_family():
    rows = listing.rows(Catalog(), "integrators")
    shown = listing.chosen(rows, "optimizers", Catalog())
    schemes = {row["name"]: row["summary"] for row in shown if row["kind"] == "scheme"}
    assert len(schemes) == len(table()) == len(NAMED) + 5
    assert schemes["nm4_star"] == "order 2  C 5/12     β 2        noise 1.105"
    assert schemes["leapfrog"].endswith("weakly stable at 0")
    assert schemes["rkc1"].endswith("β/gradient 9.69248")
    assert {row["kind"] for row in listing.rows(Catalog(), "forward")} & {"scheme"} == set()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "linear_multistep(A=(1.5,-0.5),B=(1,),lr=0.2,lr_is=eta)",
            "order 1  C 3/2      β 6        noise 0.966 h/η 2  effective step 0.4",
        ),
        ("linear_multistep(A=(3,-2),B=(1,))", "unstable at every step  effective step 0.1"),
        ("four_point(p=0.25)", "order 2  C 1/3      β 1.33333"),
        ("runge_kutta_chebyshev(s=10)", "β 193.655"),
    ],
)
def test_coefficients_of_your_own_are_analysed(text, said):
    (row,) = listing.chosen(listing.rows(Catalog()), text, Catalog())
    assert said in row["doc"].splitlines()[0]
    assert row["fields"]["lr"] == ("0.2" if "lr=" in text else repr(Catalog().parse("optimizer", text).lr))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("linear_multistep(A=(1,),B=(1,),lr_is=h)", "'h'"),
        ("nm4_star(h=1)", "scheme nm4_star has no fields"),
        ("linear_multistp(lr=1)", "did you mean 'linear_multistep'"),
    ],
)
def test_what_cannot_be_listed_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        listing.chosen(listing.rows(Catalog()), text, Catalog())
