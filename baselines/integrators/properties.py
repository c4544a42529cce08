"""The table of what theory says of every named scheme, for listings: it needs no tensor library."""

from __future__ import annotations

from collections.abc import Iterator
from math import isinf

from baselines.integrators.analysis import Analysis, analyse
from baselines.integrators.chebyshev import DAMPING, analyse_chebyshev
from baselines.integrators.coefficients import IMPLICIT, RULES
from baselines.integrators.tableaux import analyse_tableau

LEGEND = (
    "C is the error constant, β the largest stable step times curvature, β/gradient that for each gradient of a step, "
    "h/η the effective step over the learning rate where they differ."
)


def schemes() -> Iterator[tuple[str, str, Analysis]]:
    """Yield the name of each scheme, the expression of the optimizer that runs it, and its properties."""
    for name, rule in RULES.items():
        yield name, f"linear_multistep(rule={name})", analyse(rule)
    for implicit, rule in IMPLICIT.items():
        yield implicit, f"bdf(rule={implicit})", analyse(rule)
    for order in (2, 3, 4):
        yield f"rk{order}", f"runge_kutta(order={order})", analyse_tableau(order)
    for order, eps in DAMPING.items():
        yield f"rkc{order}", f"runge_kutta_chebyshev(order={order})", analyse_chebyshev(order, 5, eps)


def sentence(found: Analysis) -> str:
    """Return the properties of a scheme in one line.

    >>> sentence(analyse(RULES["ab2"]))
    'order 2  C 5/12     β 1        β/gradient 1'
    """
    constant = (
        str(found.error_constant) if found.error_constant.denominator < 10**4 else f"{float(found.error_constant):.4f}"
    )
    beta, each = ("∞" if isinf(b) else f"{b:.6g}" for b in (found.beta, found.beta / found.gradients))
    stable = "weakly stable at 0" if found.parasitic > 1 - 1e-9 else ""
    if not found.zero_stable:
        stable = "unstable at every step"
    scale = f"h/η {found.time_scale}" if found.time_scale != 1 else ""
    return f"order {found.order}  C {constant:<8} β {beta:<8} β/gradient {each:<8} {scale}{stable}".rstrip()


def table() -> list[dict[str, str]]:
    """Return one row a scheme: its name, the properties in one line, and how to run it."""
    return [
        {"name": name, "summary": sentence(found), "doc": f"{sentence(found)}\n{LEGEND}\n\nrun as     {expression}"}
        for name, expression, found in schemes()
    ]
