"""What the stable grids compare: networks at equal size and final time, over depth, at their start, and their memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from suite.crossing import parsed, tuned

if TYPE_CHECKING:
    from suite.catalog import Catalog
    from suite.cell import Cell
    from tasks.contract import Task

# at the default 16 layers and T = 5; the widths of skew and of halved states give each about as many parameters
COMPARED = (
    "resnet", "resnet_sn", "antisymmetric(width=23)", "antisymmetric(width=23,gamma=0.0,integrator='rk4')", "hamiltonian",
    "hamiltonian_two_layer(width=22)", "parabolic", "hamiltonian(smoothness=0.0005)",
    "antisymmetric(width=23,smoothness=0.0005)", "mlp(width=16,depth=16)",
)  # fmt: skip
OTHERS = (
    "resnet(h='one')", "h1_dnn", "h1_dnn(J='J2')", "midpoint(width=23)", "leapfrog", "revnet(width=22)", "momentum_resnet",
    "lm_resnet", "neural_ode", "hamiltonian(levels=3)", "resnet(smoothness=0.0005)",
)  # fmt: skip
FEW = ("resnet", "resnet_sn", "antisymmetric(width=23)", "hamiltonian", "hamiltonian_two_layer(width=22)")
DEEP = ("resnet", "antisymmetric(width=23)", "hamiltonian", "mlp(width=16)")
STARTING = (
    "resnet", "antisymmetric(gamma=0.0)", "antisymmetric(gamma=0.0,integrator='rk4')", "antisymmetric", "h1_dnn",
    "hamiltonian", "hamiltonian(gain=2.0,T=20.0)", "hamiltonian_two_layer", "parabolic", "parabolic(T=20.0)", "revnet",
)  # fmt: skip
REVERSIBLE = ("hamiltonian", "hamiltonian_two_layer", "leapfrog", "midpoint", "revnet")
ON_IMAGES = (
    "convnet", "parabolic_conv(channels=(8,16,16))", "leapfrog_conv(channels=(8,16,16))",
    "hamiltonian_conv(channels=(8,16,16))",
    "antisymmetric_rnn", "antisymmetric_rnn(gated=True)", "antisymmetric_rnn(reading='pixels')",
)  # fmt: skip
PROBES = ("input_noise", "depth_transfer", "decision_regions", "gradient_profile", "state_sensitivity(samples=4,depths=8)")
# where there is time for them too, and which no figure shows
LOCAL_PROBES = ("local_spectrum(samples=4)", "energy_drift(samples=4)")
STILL = "sgd(lr=1e-12)"  # a step that leaves the network as it starts
DEPTHS = (4, 16, 64, 256, 1024)
STEP = 0.3125  # T/N of 16 layers at T = 5, where the length of a step is fixed


def compared(
    catalog: Catalog, task: Task, networks: Sequence[str], bases: Sequence[str], probes: Sequence[str] = PROBES
) -> Iterator[Cell]:
    """Yield networks with probes, tuned alike."""
    made, optimizers = parsed(catalog, "network", networks), parsed(catalog, "optimizer", bases)
    looked = tuple(parsed(catalog, "probe", probes))
    return (replace(cell, probes=looked) for cell in tuned([task], made, optimizers, seeds=8, tune=6))


def on_images(catalog: Catalog, task: Task, bases: Sequence[str]) -> Iterator[Cell]:
    """Yield networks of convolutions, and recurrent ones that read an image as a sequence, tuned alike."""
    return tuned([task], parsed(catalog, "network", ON_IMAGES), parsed(catalog, "optimizer", bases), seeds=8, tune=6)


def with_few_samples(catalog: Catalog, name: str, sizes: Iterable[int], bases: Sequence[str]) -> Iterator[Cell]:
    """Yield networks on so many training samples of each class of a task, tuned alike."""
    networks, optimizers = parsed(catalog, "network", FEW), parsed(catalog, "optimizer", bases)
    tasks = [catalog.parse("task", f"few_samples(task={name},per_class={size})") for size in sizes]
    return tuned(tasks, networks, optimizers, seeds=8, tune=6)


def over_depth(catalog: Catalog, task: Task, depths: Sequence[int], optimizer: str, tune: int, seeds: int) -> Iterator[Cell]:
    """Yield networks that differ in depth alone, at the same final time."""
    networks = [_at(name, depth) for name in DEEP for depth in depths]
    probes = tuple(parsed(catalog, "probe", ["gradient_profile"]))
    cells = _aliased(catalog, task, networks, [optimizer], "depth", tune=tune, seeds=seeds)
    return (replace(cell, probes=probes) for cell in cells)


def at_fixed_step(catalog: Catalog, task: Task, depths: Sequence[int], optimizer: str) -> Iterator[Cell]:
    """Yield networks that differ in depth and so in final time, as the length of their steps is the same."""
    networks = [_at(name, depth, f"T={STEP * depth}") for name in DEEP if "mlp" not in name for depth in depths]
    return _aliased(catalog, task, networks, [optimizer], "fixed_step", tune=6, seeds=8)


def at_equal_parameters(catalog: Catalog, task: Task, depths: Sequence[int], optimizer: str) -> Iterator[Cell]:
    """Yield networks that differ in depth, with the same four control points for the weights of all layers."""
    networks = [_at(name, depth, "control_points=4") for name in DEEP if "mlp" not in name for depth in depths]
    return _aliased(catalog, task, networks, [optimizer], "equal_parameters", tune=6, seeds=8)


def at_start(catalog: Catalog, task: Task, depths: Sequence[int], seeds: int) -> Iterator[Cell]:
    """Yield networks as they start, of many depths, for the sensitivity of their last state."""
    networks = [_at(name, depth) for name in STARTING for depth in depths]
    probes = tuple(parsed(catalog, "probe", ["state_sensitivity(samples=4,depths=1)", "gradient_profile"]))
    for cell in _aliased(catalog, task, networks, [STILL], "init", tune=0, seeds=seeds, budget=1):
        yield replace(cell, probes=probes)


def of_memory(catalog: Catalog, task: Task) -> Iterator[Cell]:
    """Yield a few steps of reversible networks with and without stored states, at two depths."""
    networks = [
        _at(name, depth, f"reversible={flag}") for name in REVERSIBLE for depth in (16, 256) for flag in (False, True)
    ]
    return _aliased(catalog, task, networks, ["sgd"], "memory", tune=0, seeds=2, budget=2)


def _aliased(
    catalog: Catalog, task: Task, networks: Sequence[str], optimizers: Sequence[str], alias: str, *, tune: int, seeds: int,
    budget: float | None = None,
) -> Iterator[Cell]:  # fmt: skip
    made, methods = parsed(catalog, "network", networks), parsed(catalog, "optimizer", optimizers)
    return (replace(c, alias=alias, budget=budget) for c in tuned([task], made, methods, seeds=seeds, tune=tune))


def _at(network: str, depth: int, *fields: str) -> str:
    """Return a network as one writes it, at another depth and with more fields.

    >>> _at("resnet", 64), _at("midpoint(width=23)", 4, "T=1.0")
    ('resnet(depth=64)', 'midpoint(width=23,depth=4,T=1.0)')
    """
    name, _, given = network.removesuffix(")").partition("(")
    return f"{name}({','.join([*filter(None, [given]), f'depth={depth}', *fields])})"
