"""Energy of the two-layer Hamiltonian system by step length and method, and sensitivities that grow without energy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch

from baselines.contract import Check, Measurement
from baselines.stable.along_depth import jacobians
from baselines.stable.coupled import TwoLayer, half
from baselines.stable.energy_drift import energy
from baselines.stable.linear_steps import FLOAT64, run
from baselines.stable.steps import States, Weights

SYSTEM = TwoLayer()
FIRST_ENERGY = 6.256011499970426
DRIFTS = {  # method: {h: max |H − H_0|/H_0 over T = 100}
    "symplectic_euler": {0.1: 0.14473, 0.05: 0.07669, 0.025: 0.03115},
    "stormer_verlet": {0.1: 0.020428, 0.05: 0.004822, 0.025: 0.001085},
    "forward_euler": {0.1: 20.73, 0.05: 13.03, 0.025: 8.38},
}
SENSITIVITY = {1: 1.1245, 5: 1.9127, 10: 3.4922, 20: 6.5981, 50: 14.909, 100: 32.685, 200: 66.425}  # t: ‖Φ(t)‖₂


class HamiltonianEnergy(Check):
    """H = Σ log cosh(K_1 z + b_1) + Σ log cosh(K_2 y + b_2) along frozen weights, and ‖Φ‖₂ for ẏ = J tanh y, in float64.

    Symplectic Euler, the layer of `hamiltonian_two_layer`, keeps H to O(h) and Störmer–Verlet to O(h²) over any time, while
    forward Euler gains energy. The sensitivity Φ(t) of a bounded system still grows, here like t, with det Φ = 1.
    """

    def run(self, seed: int) -> Iterator[Measurement]:
        """Yield relative drifts, their ratios as h is halved, and sensitivities; nothing depends on `seed`."""
        theta, state = _system()
        start = float(energy(theta, torch.cat(state, dim=1)))
        yield Measurement("first_energy", start, FIRST_ENERGY - 1e-13, FIRST_ENERGY + 1e-13)
        for method, expected in DRIFTS.items():
            found = {h: drift(METHODS[method], h, 100.0) for h in expected}
            for h, value in found.items():
                yield Measurement(f"{method}_drift_{h:g}", value, expected[h] * 0.999, expected[h] * 1.001)
            if method == "stormer_verlet":
                for coarse, fine in ((0.1, 0.05), (0.05, 0.025)):
                    yield Measurement(f"stormer_verlet_ratio_{coarse:g}", found[coarse] / found[fine], 4.1, 4.5)
        # The motion is chaotic: beyond T = 100 rounding decides where it goes, but not how far from its energy.
        yield Measurement("symplectic_euler_drift_long", drift(symplectic_euler, 0.1, 1000.0), 0.14, 0.25)
        for t, (size, volume) in _sensitivities().items():
            yield Measurement(f"sensitivity_{t}", size, SENSITIVITY[t] * 0.9999, SENSITIVITY[t] * 1.0001)
            yield Measurement(f"sensitivity_volume_error_{t}", abs(volume - 1), 0.0, 1e-10)


def symplectic_euler(theta: Weights, states: States, h: float) -> States:
    """Return the states after one layer of the network."""
    return SYSTEM.step(theta, states, h)


def stormer_verlet(theta: Weights, states: States, h: float) -> States:
    """Return the states after half a step of z, a step of y and the other half of z."""
    y, z = states
    first, second = half(theta, 1), half(theta, 2)
    z = z + h / 2 * SYSTEM.second(second, y)
    y = y + h * SYSTEM.first(first, z)
    return y, z + h / 2 * SYSTEM.second(second, y)


def forward_euler(theta: Weights, states: States, h: float) -> States:
    """Return the states after a step that changes both halves from the old ones."""
    y, z = states
    return y + h * SYSTEM.first(half(theta, 1), z), z + h * SYSTEM.second(half(theta, 2), y)


Method = Callable[[Weights, States, float], States]
METHODS: dict[str, Method] = {f.__name__: f for f in (symplectic_euler, stormer_verlet, forward_euler)}


def drift(method: Method, h: float, T: float) -> float:
    """Return max |H − H_0|/H_0 over steps of length h up to T."""
    theta, states = _system()
    path = [torch.cat(states, dim=1)]
    for _ in range(round(T / h)):
        states = method(theta, states, h)
        path.append(torch.cat(states, dim=1))
    energies = energy(theta, torch.cat(path))
    return float(((energies - energies[0]) / energies[0]).abs().max())


def _system() -> tuple[Weights, States]:
    rng = np.random.default_rng(3)
    K1, K2, b1, b2 = (torch.from_numpy(rng.standard_normal(shape)) for shape in ((4, 4), (4, 4), 4, 4))
    y, z = (torch.full((1, 4), value, dtype=FLOAT64) for value in (0.5, -0.3))
    return {"K1": K1, "K2": K2, "b1": b1, "b2": b2}, (y, z)


def _sensitivities(h: float = 0.05) -> dict[int, tuple[float, float]]:
    """Return norm and determinant of Φ(t): the system with K_1 = K_2 = 1 on (−y_0, y_1), which is ẏ = J tanh y."""
    one, zero = torch.ones(1, 1, dtype=FLOAT64), torch.zeros(1, dtype=FLOAT64)
    layer = partial(run, SYSTEM, [{"K1": one, "K2": one, "b1": zero, "b2": zero}], h=h)
    start = torch.tensor([[-0.33627683, -0.48627683]], dtype=FLOAT64)
    path = [start / start.norm()]
    for _ in range(round(max(SENSITIVITY) / h)):
        path.append(layer(path[-1]))
    Phi, found = np.eye(2), {}
    for step, S in enumerate(jacobians(layer, torch.cat(path[:-1])).numpy(), start=1):  # of all steps in one pass
        Phi = S @ Phi
        if (t := round(step * h, 9)) in SENSITIVITY:
            found[int(t)] = float(np.linalg.norm(Phi, 2)), float(np.linalg.det(Phi))
    return found
