"""What the fractional grids compare: layers and optimizers over their orders, each beside its controls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from suite.trial import name_of

if TYPE_CHECKING:
    from baselines.contract import Network, Optimizer
    from suite.catalog import Catalog
    from suite.cell import Cell
    from tasks.contract import Task

BASES = ("sgd", "adam")
MODES = ("power", "own", "full", "a11")
CONVENTIONS = ("gradients", "loss", "fcgd")
# the fractional network that has the shape of a task's reference network, where there is one
SHAPED = {"mlp": "fractional_mlp", "convnet": "fractional_convnet"}


def plain_network(catalog: Catalog, task: Task) -> Network:
    """Return the network of ordinary layers that has a fractional twin: the task's reference network, or the default MLP."""
    reference = catalog.parse("network", task.reference_network)
    return reference if name_of(reference) in SHAPED else catalog.parse("network", "mlp")


def layer_arms(
    catalog: Catalog, task: Task, alphas: Sequence[float], *, modes: Sequence[str] = MODES, both_inputs: bool
) -> list[Network]:
    """Return the fractional twins of a task's plain network, by mode and order, and once at order 1.

    With `both_inputs` each comes with an ordinary gradient of the input too.
    """
    plain = plain_network(catalog, task)
    shape = {name: getattr(plain, name) for name in ("width", "depth", "activation") if hasattr(plain, name)}
    first = replace(catalog.parse("network", SHAPED[name_of(plain)]), **shape)
    found = [replace(first, alpha=1.0)]
    for mode in modes:
        for alpha in (alpha for alpha in alphas if alpha != 1):
            found += [
                replace(first, mode=mode, alpha=alpha, frac_input=x) for x in ((True, False) if both_inputs else (True,))
            ]
    return found


def optimizer_arms(catalog: Catalog, base: str, alphas: Sequence[float]) -> Iterator[Optimizer]:
    """Yield the fractional optimizers over a base by order; memories and factors with plain gradients at their mean gain."""
    for alpha in alphas:
        order = f"alpha={alpha}"
        memories = [f"gl_memory(base=BASE,convention='{convention}',{order})" for convention in CONVENTIONS]
        memories += [f"gl_memory(base=BASE,convention='fcgd',mask=True,{order})"]
        memories += [f"{name}(base=BASE,{order})" for name in ("tempered", "fractional_momentum")]
        factors = [f"weight_power(base=BASE,nu={alpha})", f"lagged_terminal(base=BASE,{order})"]
        others = ("adagl", "time_fractional", "cfgd", "frac_accumulate", "fixed_terminal")
        for text in memories + factors:
            yield catalog.parse("optimizer", text.replace("BASE", base))
            # a rate of the base in `like` is never used: given by hand, it is no dimension of the tuning
            yield catalog.parse("optimizer", f"scaled(base={base},like={text.replace('BASE', 'sgd(lr=1.0)')})")
        yield from (catalog.parse("optimizer", f"{name}(base={base},{order})") for name in others)


def wide(catalog: Catalog) -> Iterator[Network]:
    """Yield an MLP of width 512 and its fractional twins, where fractional differentiation is claimed to cost little."""
    yield catalog.parse("network", "mlp(width=512)")
    for mode in MODES:
        yield catalog.parse("network", f"fractional_mlp(width=512,mode='{mode}')")


def micro_batches(catalog: Catalog, task: Task, base: str) -> Iterator[tuple[Network, Optimizer]]:
    """Yield every mode under plain accumulation over four and eight parts of a batch, which should change nothing."""
    for network in layer_arms(catalog, task, (0.9,), both_inputs=False):
        for parts in (4, 8):
            yield network, catalog.parse("optimizer", f"frac_accumulate(base={base},alpha=1.0,N={parts})")


def watched(cells: Iterator[Cell]) -> Iterator[Cell]:
    """Yield cells with the probe of the fractional gradient, at logarithmic steps."""
    from baselines.fractional.fractional_gradient import FractionalGradient

    for cell in cells:
        yield replace(cell, probes=(FractionalGradient(interval=0),))
