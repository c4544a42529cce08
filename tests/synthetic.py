"""Rows of invented runs: input for the tests of the store, the queries and the report."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np

from suite.trial import Row

START = datetime(2025, 1, 1, tzinfo=UTC)
STEPS = (0, 10, 20, 50, 100, 200, 500, 1000)
FAMILIES = {"sgd": "standard", "adamw": "standard", "caputo": "fractional", "fomoh": "forward", "heun": "integrators"}


def trial(key: str, status: str = "completed", fingerprint: str = "f1", **values) -> Row:
    """One row of `trials`, with defaults for what a test does not care about."""
    fixed = {
        "grid": "toy", "protocol": "1.0", "stage": "eval", "alias": "", "task": "digits", "network": "mlp",
        "optimizer": "sgd", "seed": 0,
        "tune": 0, "budget": 100.0, "budget_factor": 1.0,
        "precision": "float32", "schedule": "constant", "weight_decay": 0.0,
        "primary": "accuracy", "higher_is_better": True, "timing": "exclusive", "network_family": "standard",
        "network_name": "mlp", "family": "standard", "started": START,
    }  # fmt: skip
    return Row("trials", {**fixed, "key": key, "status": status, "fingerprint": fingerprint, **values})


def metric(key: str, step: int, value: float, split: str = "validation", name: str = "accuracy") -> Row:
    """One row of `metrics`."""
    return Row("metrics", {
        "key": key, "step": step, "split": split, "name": name, "value": value,
        "epochs": step / 10, "gradients": step / 10, "seconds": step / 100,
    })  # fmt: skip


def small(key: str, points: int = 2, **values) -> list[Row]:
    """A trial with a short curve."""
    return [*(metric(key, step, 0.5) for step in range(points)), trial(key, **values)]


def run(
    tasks: int = 8, optimizers: tuple[str, ...] = tuple(FAMILIES), seeds: int = 8, networks: int = 1, failing: str = ""
) -> Iterator[Row]:
    """A whole run: odd tasks are losses over decades, even ones accuracies; the later optimizers are better."""
    generator = np.random.default_rng(0)
    for t in range(tasks):
        for o, optimizer in enumerate(optimizers):
            for seed in range(seeds):
                lost = optimizer == failing and (t == 0 or seed == 0)
                yield from _one(t, f"net{t % networks}", optimizer, seed, 1 + o + 0.3 * generator.normal(), lost)


def _one(t: int, network: str, optimizer: str, seed: int, skill: float, failed: bool) -> Iterator[Row]:
    key = f"{t}-{network}-{optimizer}-{seed}"
    is_loss, name = t % 2 == 1, "loss" if t % 2 else "accuracy"
    steps = STEPS[:4] if failed else STEPS
    values = [float(10 ** (1 - skill * s / 500)) if is_loss else float(1 - 0.9 * np.exp(-skill * s / 500)) for s in steps]
    for step, value in zip(steps, values, strict=True):
        yield metric(key, step, value, name=name)
    target = 10.0**-3 if is_loss else 0.95
    hits = [s for s, v in zip(steps, values, strict=True) if (v <= target if is_loss else v >= target)]
    yield trial(
        key, "diverged" if failed else "completed", task=f"task{t}", network=network, optimizer=optimizer, seed=seed,
        reference_network=network, optimizer_name=optimizer.partition("(")[0],
        optimizer_family=FAMILIES.get(optimizer, "fractional"),
        family=FAMILIES.get(optimizer, "fractional"), primary=name, higher_is_better=not is_loss, target=target,
        target_step=hits[0] if hits else None, target_gradients=hits[0] / 10 if hits else None,
        test_at_best=values[-1], best_validation=values[-1], final_test=values[-1], gradients=steps[-1] / 10,
        steps=steps[-1], seconds=3.0 + len(optimizer) + 0.1 * seed, peak_bytes=10_000_000 * (1 + len(optimizer)),
        device="cpu", torch="2.15.0", commit="abc1234", host="node1", threads=1, started=START + timedelta(seconds=seed),
    )  # fmt: skip


def seeds(scores, optimizer="sgd", task="digits", **values):
    """Evaluation rows of one method on one task; None is a failed run."""
    prefix = f"{task}-{optimizer}-{values.get('stage', '')}{values.get('alias', '')}"
    fixed = {"optimizer_name": optimizer, "task": task, "steps": 100, **values}
    return [
        trial(
            f"{prefix}-{seed}",
            "diverged" if x is None else "completed",
            seed=seed,
            optimizer=optimizer,
            test_at_best=x,
            **fixed,
        )
        for seed, x in enumerate(scores)
    ]


# an optimizer outside the tree
SIGN_DESCENT = """
import torch
from baselines.contract import Optimizer, tunable

class SignDescent(Optimizer):
    lr: float = tunable(1e-3, 1e-5, 1e-1, log=True)

    def init(self, params):
        return None

    def step(self, oracle, params, state, generator, rate):
        _, grads = oracle.grad(params)
        return {name: p - self.lr * rate * torch.sign(grads[name]) for name, p in params.items()}, state
"""
