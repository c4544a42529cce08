"""What the kink grids compare: networks that differ in the derivative at kinks alone, in two precisions, beside a bug."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from suite.crossing import tuned

if TYPE_CHECKING:
    from suite.catalog import Catalog
    from suite.cell import Cell
    from tasks.contract import Task

VALID = ("s=0.0", "s=0.5", "s=1.0")
MORE_VALID = ("s=0.25", "s=0.75")
CONTROLS = ("s=1000.0", "s=1.0,activation='relu_overwrite'")  # invalid; the gradient overwritten, not scaled
MORE_CONTROLS = ("s=10.0", "s=100.0")
TIES = ("beta=0.0", "beta=1.0", "beta=1000.0")  # of max-pooling


def kink_arms(
    catalog: Catalog, task: Task, bases: Sequence[str], *, slopes: Sequence[str] = VALID, controls: Sequence[str] = CONTROLS
) -> Iterator[Cell]:
    """Yield perceptrons by their derivative at 0, with and without batch normalisation, tuned alike.

    Invalid values and the bug are run in bfloat16 alone, where kinks are hit.
    """
    plain = [f"kink_mlp({slope})" for slope in slopes]
    normal = [f"kink_mlp({slope},batch_norm=True)" for slope in slopes]
    yield from _cells(catalog, task, [*plain, *normal], bases, "float32")
    wrong = [f"kink_mlp({control})" for control in controls]
    yield from _cells(catalog, task, [*plain, *normal, *wrong], bases, "bfloat16")


def image_arms(catalog: Catalog, task: Task, bases: Sequence[str]) -> Iterator[Cell]:
    """Yield networks for images by their derivative at 0 and at ties of max-pooling, tuned alike."""
    for name in ("kink_vgg", "kink_resnet"):
        networks = [f"{name}({slope},batch_norm={norm})" for norm in ("False", "True") for slope in VALID]
        yield from _cells(catalog, task, networks, bases, "float32")
        yield from _cells(catalog, task, [f"{name}({slope})" for slope in (*VALID, *CONTROLS)], bases, "bfloat16")
    yield from _cells(catalog, task, [f"kink_vgg({tie})" for tie in TIES], bases, "bfloat16")


def _cells(catalog: Catalog, task: Task, networks: Sequence[str], bases: Sequence[str], precision: str) -> Iterator[Cell]:
    made = list(dict.fromkeys(catalog.parse("network", text) for text in networks))
    optimizers = [catalog.parse("optimizer", base) for base in bases]
    probes = (catalog.parse("probe", "zero_rate(interval=0)"),)
    return (replace(cell, precision=precision, probes=probes) for cell in tuned([task], made, optimizers, seeds=8, tune=6))
