"""What the fractional grids compare: layers and optimizers over their orders, each beside its controls."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from baselines.contract import Search
from suite.trial import name_of

if TYPE_CHECKING:
    from baselines.contract import Network, Optimizer
    from suite.catalog import Catalog
    from suite.cell import Cell
    from suite.tuning import Searches
    from tasks.contract import Task

# only the learning rate of the base is tuned, in these ranges: every order of every method has the same points
SEARCHES: dict[str, Searches] = {
    "sgd": (("lr", Search(1e-3, 1.0, log=True)),),
    "adam": (("lr", Search(1e-4, 3e-2, log=True)),),
}
BASES = tuple(SEARCHES)
MAIN = ("gl_memory", "adagl", "weight_power", "lagged_terminal")  # what a small grid has over Adam as well
WHOLE = ("fctm", "frac_m", "lagged_gradient")  # at one order over SGD, and not in a small grid
# the fractional network that has the shape of a task's reference network, where there is one
SHAPED = {"mlp": "fractional_mlp", "convnet": "fractional_convnet"}


def plain_network(catalog: Catalog, task: Task) -> Network:
    """Return the network of ordinary layers that has a fractional twin: the task's reference network, or the default MLP."""
    reference = catalog.parse("network", task.reference_network)
    return reference if name_of(reference) in SHAPED else catalog.parse("network", "mlp")


def layer_arms(
    catalog: Catalog,
    task: Task,
    alphas: Sequence[float],
    ordinary_inputs: Collection[float] = (),
    only: Collection[str] = (),
) -> list[Network]:
    """Return the fractional twins of a task's plain network, by mode and order, and once at order 1.

    At the orders in `ordinary_inputs` each comes with an ordinary gradient of the input too; `only` restricts the modes.
    """
    plain = plain_network(catalog, task)
    shape = {name: getattr(plain, name) for name in ("width", "depth", "activation") if hasattr(plain, name)}
    first = replace(catalog.parse("network", SHAPED[name_of(plain)]), **shape)
    found = [replace(first, alpha=1.0)]
    for mode in only or modes(catalog):
        for alpha in (alpha for alpha in alphas if alpha != 1):
            found += [
                replace(first, mode=mode, alpha=alpha, frac_input=x)
                for x in ((True, False) if alpha in ordinary_inputs else (True,))
            ]
    return found


def optimizer_arms(
    catalog: Catalog, base: str, alphas: Sequence[float], names: Collection[str] = (), without: Collection[str] = ()
) -> Iterator[Optimizer]:
    """Yield the fractional optimizers over a base by order, each beside two controls; `names` and `without` restrict them.

    The first control is the method itself at integer order. The second, of memories and of factors on the gradient, is the
    plain gradient at their mean gain; that of adagl is that of its memory.
    """
    orders = [alpha for alpha in alphas if alpha != 1]
    for text, like in _methods(catalog).items():
        name = text.partition("(")[0]
        if (names and name not in names) or name in without:
            continue
        for order in orders:
            yield catalog.parse("optimizer", text.replace("BASE", base).replace("ORDER", str(order)))
            if like:
                # a rate of the base in `like` is never used: given by hand, it is no dimension of the tuning
                given = like.replace("BASE", "sgd(lr=1.0)").replace("ORDER", str(order))
                yield catalog.parse("optimizer", f"scaled(base={base},like={given})")
        yield catalog.parse("optimizer", text.replace("BASE", base).replace("ORDER", str(orders[0]))).control


def modes(catalog: Catalog) -> tuple[str, ...]:
    """Return the modes of fractional layers."""
    return catalog.find("network", "fractional_mlp").choices["mode"]


def wide(catalog: Catalog) -> Iterator[Network]:
    """Yield an MLP of width 512 and its fractional twins, where fractional differentiation is claimed to cost little."""
    yield catalog.parse("network", "mlp(width=512)")
    for mode in modes(catalog):
        yield catalog.parse("network", f"fractional_mlp(width=512,mode='{mode}')")


def micro_batches(catalog: Catalog, task: Task, base: str) -> Iterator[tuple[Network, Optimizer]]:
    """Yield every mode under plain accumulation over four and eight parts of a batch, which should change nothing."""
    for network in layer_arms(catalog, task, (0.9,)):
        for parts in (4, 8):
            yield network, catalog.parse("optimizer", f"frac_accumulate(base={base},alpha=1.0,N={parts})")


def reversed_arms(catalog: Catalog, task: Task) -> Iterator[Network]:
    """Yield every mode with the samples of each batch in reverse order, which changes what asks for the first one."""
    networks: list[Any] = layer_arms(catalog, task, (0.9,))
    yield from (replace(network, reverse=True) for network in networks[1:])  # without order 1


def equipped(cells: Iterable[Cell]) -> Iterator[Cell]:
    """Yield cells with the ranges of their base and the probe of the fractional gradient, at logarithmic steps."""
    from baselines.fractional.fractional_gradient import FractionalGradient

    for cell in cells:
        yield replace(cell, search=SEARCHES[base_of(cell.optimizer)], probes=(FractionalGradient(interval=0),))


def base_of(optimizer: Optimizer) -> str:
    """Return the name of the optimizer that all others are wrapped around."""
    inner = getattr(optimizer, "base", None)
    return name_of(optimizer) if inner is None else base_of(inner)


def _methods(catalog: Catalog) -> dict[str, str]:
    """Return every method, and what its effective learning rate is that of: itself for most, nothing where there is none."""
    conventions = catalog.find("optimizer", "gl_memory").choices["convention"]
    memories = [f"gl_memory(base=BASE,convention='{convention}',alpha=ORDER)" for convention in conventions]
    factors = [
        *memories, "gl_memory(base=BASE,convention='fcgd',mask=True,alpha=ORDER)", "tempered(base=BASE,alpha=ORDER)",
        "fractional_momentum(base=BASE,alpha=ORDER)", "frac_m(base=BASE,alpha=ORDER)", "weight_power(base=BASE,nu=ORDER)",
        "lagged_terminal(base=BASE,alpha=ORDER)",
    ]  # fmt: skip
    others = ("time_fractional", "fctm", "lagged_gradient", "cfgd", "frac_accumulate", "fixed_terminal")
    return {
        **{text: text for text in factors},
        "adagl(base=BASE,alpha=ORDER)": memories[conventions.index("gradients")],
        **{f"{name}(base=BASE,alpha=ORDER)": "" for name in others},
    }
