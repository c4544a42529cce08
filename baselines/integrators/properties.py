"""The table of what theory says of every named scheme, for listings: it needs no tensor library."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite, isinf
from typing import Any

from baselines.integrators.analysis import Analysis, analyse, noise_variance
from baselines.integrators.chebyshev import DAMPING, analyse_chebyshev
from baselines.integrators.coefficients import IMPLICIT, RULES, Rule
from baselines.integrators.tableaux import analyse_tableau

NOISE_AT = 0.1  # hλ
LEGEND = (
    "C is the error constant, β the largest stable step times curvature, β/gradient that for each gradient of a step where "
    f"there are several, noise the stationary variance of θ at hλ = {NOISE_AT:g} under white noise in the gradients over "
    "that of gradient descent, h/η the effective step over the learning rate where they differ."
)


def schemes() -> Iterator[tuple[str, str, Analysis, Rule | None]]:
    """Yield the name of each scheme, the optimizer that runs it as an expression, its properties, and a multistep rule."""
    for name, rule in RULES.items():
        yield name, f"linear_multistep(rule={name})", analyse(rule), rule
    for implicit, rule in IMPLICIT.items():
        yield implicit, f"bdf(rule={implicit})", analyse(rule), rule
    for order in (2, 3, 4):
        yield f"rk{order}", f"runge_kutta(order={order})", analyse_tableau(order), None
    for order, eps in DAMPING.items():
        yield f"rkc{order}", f"runge_kutta_chebyshev(order={order})", analyse_chebyshev(order, 5, eps), None


def sentence(found: Analysis, rule: Rule | None = None) -> str:
    """Return the properties of a scheme in one line, with the noise of a multistep rule.

    >>> sentence(analyse(RULES["ab2"]), RULES["ab2"])
    'order 2  C 5/12     β 1        noise 1.106'
    """
    constant = (
        str(found.error_constant) if found.error_constant.denominator < 10**4 else f"{float(found.error_constant):.4f}"
    )
    beta, each = ("∞" if isinf(b) else f"{b:.6g}" for b in (found.beta, found.beta / found.gradients))
    noise = noise_variance(rule, NOISE_AT) if rule else float("inf")
    parts = [
        f"order {found.order}  C {constant:<8} β {beta:<8}",
        f"noise {noise:.3f}" if isfinite(noise) else "",
        f"β/gradient {each}" if found.gradients > 1 else "",
        f"h/η {found.time_scale}" if found.time_scale != 1 else "",
        "unstable at every step" if not found.zero_stable else "weakly stable at 0" if found.parasitic > 1 - 1e-9 else "",
    ]
    return " ".join(filter(None, parts)).rstrip()


def table() -> list[dict[str, str]]:
    """Return one row a scheme: its name, the properties in one line, and how to run it."""
    listed = [(name, expression, sentence(found, rule)) for name, expression, found, rule in schemes()]
    return [
        {"name": name, "summary": summary, "doc": f"{summary}\n{LEGEND}\n\nrun as     {expression}"}
        for name, expression, summary in listed
    ]


def of(method: Any) -> str:
    """Return what theory says of a method with all its fields, empty of one that is no integrator."""
    found = getattr(method, "analysis", None)
    if found is None:
        return ""
    scheme = getattr(method, "scheme", None)
    return f"{sentence(found, scheme)}  effective step {method.effective_step:.6g}\n{LEGEND}"
