"""The floor on which workers stand: what room machines and GPUs have, who makes way for whom; plain bookkeeping."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from suite.packing import one_of
from suite.places import Machine, Place

ARRANGE_SECONDS = 0.5  # between two looks at which workers are wanting
WISH_SECONDS = 10.0  # for which a share that was asked for in vain is kept in mind
ASLEEP_SECONDS = 10.0  # between two looks at the workers, after which they are given time to be heard
ALONE_SECONDS = 60.0  # without a worker, after which the user is told
MEBIBYTE = 1 << 20
_SLACK = 1e-6  # shares are rounded to four decimals


@dataclass
class Floor:
    """The places of all machines. Shares are exact: a place serves trials that ask for its very share."""

    cpus: float  # cores of one place
    share: float  # the usual one
    workers: int | None = None  # places at most
    is_exclusive: bool = False  # one place on a machine without GPUs
    machines: dict[str, Machine] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)  # places of a machine that ran out of memory
    wishes: dict[float, float] = field(default_factory=dict)  # shares that were asked for in vain, and when
    next_arranging: float = 0.0
    last_heard: float = math.inf  # when the workers were last listened to
    last_up: float = math.inf  # when a worker was last there
    _on: dict[str, list[Place]] = field(default_factory=dict)

    @property
    def places(self) -> list[Place]:
        """All places."""
        return [place for here in self._on.values() for place in here]

    def of(self, share: float | None) -> float:
        """Return the share of the places that serve a wish; None is the usual one.

        >>> floor = Floor(cpus=1, share=0.5)
        >>> floor.of(None), floor.of(0.3), floor.of(1.0), Floor(cpus=1, share=0.0).of(1.0), Floor(cpus=1, share=2).of(1.0)
        (0.5, 0.3333, 1.0, 0.0, 2)
        """
        if share is None or not self.share or share >= 1 <= self.share:
            return self.share
        return one_of(round(1 / share)) if 0 < share < 1 else share

    def follow(self, machines: Iterable[Machine]) -> list[str]:
        """Take the machines there are now, drop what stood on others and does nothing, and say what has changed."""
        there, before = {machine.id: machine for machine in machines}, self.machines
        self.machines = {name: before.get(name, machine) for name, machine in there.items()}
        for place in self.places:
            if place.machine.id not in there and not place.key:
                self.remove(place)
        new = [m for name, m in there.items() if name not in before and self.fit(m)]
        gone = [m for name, m in before.items() if name not in there and self.fit(m)]
        return [f"a node has joined at {m.address}" for m in new] + [f"a node has left at {m.address}" for m in gone]

    def pass_time(self, now: float) -> None:
        """Notice when nobody has listened for long: what workers said meanwhile may still have to come in."""
        asleep, self.last_heard = now - self.last_heard, now
        if asleep > ASLEEP_SECONDS:
            for place in self.places:
                place.forgive(now, asleep)

    def complaints(self, now: float) -> list[str]:
        """Say, once in a while, that there has been no worker for long."""
        if any(place.is_up for place in self.places) or self.last_up > now:
            self.last_up = now
        elif now - self.last_up > ALONE_SECONDS:
            self.last_up = now
            return [f"no worker for {ALONE_SECONDS:g} s: waiting for a node, or for cores that others use"]
        return []

    def idle(self, share: float) -> Place | None:
        """Return a place of this very share whose worker waits for a trial."""
        return next((p for p in self.places if p.share == share and p.is_idle and not p.is_retiring), None)

    def ask(self, share: float, now: float) -> bool:
        """Return whether a worker waits; if none does, keep in mind that one is wanted."""
        if self.idle(share) is None:
            self.wishes[share] = now
            return False
        self.wishes.pop(share, None)
        return True

    def arrange(self, now: float) -> tuple[list[Place], list[Place]]:
        """Return the places whose workers are to end, and those that are to get one."""
        if now < self.next_arranging:
            return [], []
        self.next_arranging = now + ARRANGE_SECONDS
        self.wishes = {share: asked for share, asked in self.wishes.items() if now - asked < WISH_SECONDS}
        self.cancel(self.wishes)
        ending = [*self.retired(), *(gone for share in self.wishes for gone in self.make_room(share))]
        self.grow()
        empty = [place for place in self.places if place.actor is None and not place.is_retiring]
        return ending, [place for place in empty if now >= place.not_before and self.may_start(place)]

    def fit(self, machine: Machine) -> int:
        """Return how many places of the usual share a machine takes.

        >>> machine = Machine("a", "", cpus=32, gpus=3)
        >>> [Floor(cpus=2, share=share).fit(machine) for share in (0.3333, 2, 0)]
        [9, 1, 16]
        """
        cores = int(machine.cpus / self.cpus + _SLACK)
        if not self.share:
            return min(cores, 1) if self.is_exclusive else cores
        return min(cores, machine.gpus * int(1 / self.share) if self.share < 1 else int(machine.gpus / self.share))

    def cores(self, place: Place) -> float:
        """Return the cores that a place takes from its machine: all of them where nothing may run beside it."""
        return place.machine.cpus if self.is_exclusive and not place.share else self.cpus

    def memory(self, place: Place) -> int:
        """Return the bytes of memory that a place takes: as much as of the cores, so that it never limits how many fit."""
        return int(place.machine.memory * self.cores(place) / place.machine.cpus) // MEBIBYTE * MEBIBYTE

    def is_alone(self, place: Place) -> bool:
        """Return whether nothing of ours runs beside a place: on its GPUs, or, without any, on its machine."""
        if place.share:
            return place.share >= 1
        return sum(other.machine.address == place.machine.address for other in self.places) == 1

    def grow(self) -> None:
        """Add places of the usual share wherever there is room, evenly over the machines."""
        while rooms := [machine for machine in self.machines.values() if self.has_room(machine, self.share)]:
            self._add(Place(min(rooms, key=lambda machine: len(self._on.get(machine.id, ()))), self.share))

    def shrink(self, place: Place) -> None:
        """Drop a place whose machine ran out of memory and allow it no more than are left, unless it is the last one."""
        here = self._on.get(place.machine.id, [])
        if place in here and len(here) > 1:
            here.remove(place)
            self.limits[place.machine.id] = len(here)

    def remove(self, place: Place) -> None:
        """Drop a place."""
        self._on[place.machine.id].remove(place)

    def is_crowded(self, place: Place) -> bool:
        """Return whether a worker that has just started stands on a GPU that is kept for another place."""
        bins = self._loads(place.machine, self._on[place.machine.id])
        return any(bins[device] > 1 + _SLACK for device in place.devices)

    def has_room(self, machine: Machine, share: float, without: Sequence[Place] = ()) -> bool:
        """Return whether one more place fits on a machine, were it not for some of those that are there."""
        here = [place for place in self._on.get(machine.id, ()) if place not in without]
        total = sum(map(len, self._on.values())) - len(without)
        if total >= (self.workers or math.inf) or len(here) >= self.limits.get(machine.id, math.inf):
            return False
        needed = self.cores(Place(machine, share))
        if self.cpus > machine.cpus + _SLACK or sum(map(self.cores, here)) + needed > machine.cpus + _SLACK:
            return False
        return not share or _fits(self._bins(machine, here), share)

    def make_room(self, share: float) -> list[Place]:
        """Add a place of a share that is asked for in vain; return the idle places that have to end at once for it.

        Where busy places stand in the way, those of one GPU are marked as retiring, and the new place comes after them.
        """
        coming = [place for place in self.places if place.share == share and not place.is_up]
        stuck = [place for place in coming if not place.after and not self.has_room(place.machine, share, (place,))]
        if len(stuck) < len(coming):
            return []
        for place in stuck:  # Ray gave its room to another one
            self.remove(place)
        choices = [choice for machine in self.machines.values() if (choice := self._cheapest(machine, share)) is not None]
        if choices:
            machine, gone = min(choices, key=lambda choice: len(choice[1]))
            for place in gone:
                self.remove(place)
            self._add(Place(machine, share))
            return [*stuck, *gone]
        if not any(place.share == share for place in self.places):
            self._reserve(share)
        return stuck

    def cancel(self, shares: Iterable[float]) -> None:
        """Give up places that still wait for others to go and whose share is no longer asked for."""
        kept = set(shares)
        for place in [place for place in self.places if place.after and place.actor is None and place.share not in kept]:
            for other in place.after:
                other.is_retiring = False
            self.remove(place)

    def retired(self) -> list[Place]:
        """Drop and return the places that were to go and have become idle or lost their worker."""
        gone = [place for place in self.places if place.is_retiring and (place.is_idle or place.actor is None)]
        for place in gone:
            self.remove(place)
        return gone

    def may_start(self, place: Place) -> bool:
        """Return whether all that a place has to wait for is gone."""
        return not any(other in self._on[place.machine.id] for other in place.after)

    def _add(self, place: Place) -> None:
        self._on.setdefault(place.machine.id, []).append(place)

    def _cheapest(self, machine: Machine, share: float) -> tuple[Machine, list[Place]] | None:
        """Return the fewest idle places of other shares whose end makes room on a machine; None if that is not enough."""
        idle = [place for place in self._on.get(machine.id, ()) if place.is_idle and place.share != share]
        devices = sorted({device for place in idle for device in place.devices})
        groups = [[place for place in idle if device in place.devices] for device in devices]
        for gone in sorted([group[:count] for group in [*groups, idle] for count in range(len(group) + 1)], key=len):
            if self.has_room(machine, share, gone):
                return machine, gone
        return None

    def _reserve(self, share: float) -> None:
        """Keep the GPU with the fewest busy places for a share that is larger than theirs."""
        choices: dict[tuple[str, str], list[Place]] = {}
        for place in self.places:
            for device in place.devices:
                choices.setdefault((place.machine.id, device), []).append(place)
        choices = {key: here for key, here in choices.items() if all(p.share < share and not p.after for p in here)}
        if choices and share <= 1:
            (name, device), here = min(choices.items(), key=lambda item: sum(not place.is_idle for place in item[1]))
            for place in here:
                place.is_retiring = True
            self._add(Place(self.machines.get(name, here[0].machine), share, (device,), after=tuple(here)))

    def _loads(self, machine: Machine, here: Iterable[Place]) -> dict[str, float]:
        loads: dict[str, float] = {}
        for place in here:
            for device in place.devices:
                loads[device] = loads.get(device, 0.0) + min(place.share, 1.0)
        return loads

    def _bins(self, machine: Machine, here: Sequence[Place]) -> list[float]:
        """Return what is left of each GPU; workers that are still to start go where they fit best, as Ray puts them."""
        loads = self._loads(machine, here)
        left = [1 - load for load in loads.values()] + [1.0] * (machine.gpus - len(loads))
        for place in here:
            if place.share and not place.devices:
                for _ in range(max(1, int(place.share))):
                    fitting = [room for room in left if room >= min(place.share, 1) - _SLACK]
                    if fitting:
                        left.remove(min(fitting))
                        left.append(min(fitting) - min(place.share, 1))
        return left


def _fits(left: Sequence[float], share: float) -> bool:
    return sum(room >= min(share, 1) - _SLACK for room in left) >= max(1, int(share))


def misfit(floor: Floor, machines: Sequence[Machine]) -> str:
    """Say why not a single worker fits on any of the machines."""
    usable = [machine for machine in machines if machine.gpus >= floor.share] or machines
    cores, gpus = (max((getattr(machine, name) for machine in usable), default=0) for name in ("cpus", "gpus"))
    wanted = f"{floor.cpus:g} cores" + f" and {floor.share:g} GPUs" * (floor.share > 0)
    return f"no worker fits: each takes {wanted}, and no node has more than {cores:g} cores and {gpus} GPUs"
