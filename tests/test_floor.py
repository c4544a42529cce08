"""Where workers are put: shares of GPUs, cores, limits, nodes that come and go. No Ray."""

import random

import pytest

from suite.floor import ALONE_SECONDS, WISH_SECONDS, Floor
from suite.places import STALL_SECONDS, Machine

SMALL, LARGE = Machine("small", "10.0.0.1", cpus=2), Machine("large", "10.0.0.2", cpus=6, memory=6 << 30)
GPUS = Machine("gpus", "10.0.0.3", cpus=16, gpus=2)


def filled(machines, **options):
    """A floor all of whose workers have started; GPUs go to them one after another, as Ray deals them out."""
    floor = Floor(**{"cpus": 1, "share": 0.0, **options})
    floor.follow(machines)
    floor.arrange(0.0)
    for place in floor.places:
        start(floor, place)
    return floor


def start(floor, place):
    """Let the worker of a place start where Ray would, on the fullest GPUs with room, if there are any."""
    loads = {str(i): 0.0 for i in range(place.machine.gpus)}
    for other in floor.places:
        for device in other.devices if other.actor is not None and other.machine is place.machine else ():
            loads[device] += min(1, other.share)
    fitting = sorted((d for d in loads if loads[d] + min(1, place.share) <= 1), key=loads.__getitem__, reverse=True)
    wanted = max(1, int(place.share)) if place.share else 0
    if len(fitting) < wanted:
        return
    was_kept = bool(place.after)
    place.actor, place.after, place.devices = "actor", (), tuple(fitting[:wanted])
    if not was_kept and floor.is_crowded(place):
        place.clear()


def counts(floor):
    return {machine: sum(place.machine.id == machine for place in floor.places) for machine in floor.machines}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"small": 2, "large": 6}), ({"workers": 4}, {"small": 2, "large": 2}), ({"cpus": 3}, {"small": 0, "large": 2}),
        ({"is_exclusive": True}, {"small": 1, "large": 1}), ({"workers": 1}, {"small": 1, "large": 0}),
    ],
)  # fmt: skip
def test_cores_are_filled_evenly(options, expected):
    assert counts(filled([SMALL, LARGE], **options)) == expected


@pytest.mark.parametrize(("share", "number"), [(0.5, 4), (0.3333, 6), (0.125, 16), (1.0, 2), (2, 1)])
def test_gpus_are_filled(share, number):
    assert counts(filled([GPUS], share=share)) == {"gpus": number}


def test_memory_never_limits_how_many_fit():
    floor = filled([LARGE])
    assert sum(map(floor.memory, floor.places)) == LARGE.memory


def test_a_lonely_worker_has_its_machine_for_itself():
    assert [list(map(floor.is_alone, floor.places)) for floor in (filled([SMALL], workers=1), filled([SMALL]))] == [
        [True], [False, False],
    ]  # fmt: skip


def test_nodes_that_join_are_used_and_those_that_leave_are_forgotten():
    floor = filled([SMALL])
    assert floor.follow([SMALL, LARGE]) == ["a node has joined at 10.0.0.2"]
    floor.grow()
    assert counts(floor) == {"small": 2, "large": 6}
    floor.places[0].key = "at work"  # it is lost later, when its worker is known to be dead
    assert floor.follow([LARGE]) == ["a node has left at 10.0.0.1"]
    assert [place.machine.id for place in floor.places] == ["small"] + ["large"] * 6
    floor.places[0].key = ""
    floor.follow([LARGE])
    assert counts(floor) == {"large": 6}


def test_a_machine_without_memory_gets_fewer_workers_but_one_at_least():
    floor = filled([SMALL])
    for expected in (1, 1):
        floor.shrink(floor.places[0])
        floor.grow()
        assert counts(floor) == {"small": expected}


def test_without_gpus_every_share_is_the_usual_place():
    floor = filled([SMALL])
    assert all(floor.ask(floor.of(share), now=0.0) for share in (None, 0.25, 1.0))


def test_idle_places_make_room_at_once():
    floor = filled([GPUS], share=0.5)
    busy = [place for place in floor.places if place.devices == ("0",)]
    for place in busy:
        place.running = "trial"
    assert not floor.ask(1.0, now=1.0)
    ending, empty = floor.arrange(1.0)
    assert [place.devices for place in ending] == [("1",), ("1",)]
    assert [place.share for place in empty] == [1.0]
    assert set(busy) < set(floor.places)


def test_busy_places_of_one_gpu_are_waited_for():
    floor = filled([GPUS], share=0.5)
    for place in floor.places:
        place.running = "trial"
    floor.ask(1.0, now=1.0)
    assert floor.arrange(1.0) == ([], [])
    first, second = [place for place in floor.places if place.is_retiring]
    assert first.devices == second.devices
    first.running = None
    assert not floor.ask(0.5, now=2.0)  # it takes no more work
    floor.ask(1.0, now=2.0)
    assert floor.arrange(2.0) == ([first], [])
    second.running = None
    floor.ask(1.0, now=3.0)
    ending, (whole,) = floor.arrange(3.0)
    assert (ending, whole.share, whole.devices) == ([second], 1.0, first.devices)


def test_a_wish_that_is_no_longer_there_is_forgotten():
    floor = filled([GPUS], share=0.5)
    for place in floor.places:
        place.running = "trial"
    floor.ask(1.0, now=1.0)
    floor.arrange(1.0)
    floor.arrange(2.0 + WISH_SECONDS)
    assert not any(place.is_retiring for place in floor.places)
    assert {place.share for place in floor.places} == {0.5}


def test_a_whole_gpu_that_nobody_wants_goes_back():
    floor = filled([GPUS], share=0.5)
    floor.ask(1.0, now=1.0)
    ((*_,), (whole,)) = floor.arrange(1.0)
    start(floor, whole)
    for place in floor.places:
        place.running = None if place is whole else "trial"
    floor.ask(0.5, now=20.0)
    ending, empty = floor.arrange(20.0)
    assert (ending, [place.share for place in empty]) == ([whole], [0.5, 0.5])


def test_having_no_worker_is_said_once_a_minute():
    floor = filled([])
    said = [floor.complaints(float(now)) for now in range(int(2.5 * ALONE_SECONDS))]
    assert sum(map(len, said)) == 2
    assert said[int(ALONE_SECONDS) + 1] == [
        f"no worker for {ALONE_SECONDS:g} s: waiting for a node, or for cores that others use"
    ]


def test_a_driver_that_was_asleep_blames_no_worker():
    """The worker owes a pulse, but nobody was there to hear it."""
    floor = filled([SMALL])
    place = floor.places[0]
    place.begin("trial", "running", 0.0, timeout=10.0)
    place.pulse = "asked for"
    for now in range(int(STALL_SECONDS) + 2):
        floor.pass_time(float(now))
    assert place.trouble(now)[1].startswith("did not stop")
    place.deadline = float("inf")
    assert place.trouble(now)[1].startswith("the worker stalled")
    floor.pass_time(now + 1000.0)
    assert place.trouble(now + 1000.0) is None


@pytest.mark.parametrize("seed", range(20))
def test_every_wish_is_met(seed):
    """Trials of all sizes come, run and end at random; workers start late, die, and get another GPU than was meant."""
    draw, floor, now = random.Random(seed), filled([GPUS, LARGE], share=0.25), 0.0
    todo = [draw.choice([0.25, 0.25, 0.5, 0.125, 1.0]) for _ in range(60)]
    while todo or any(place.running for place in floor.places):
        now += 1.0
        assert now < 1000
        for share in list(todo):
            if floor.ask(share, now):
                floor.idle(share).running = "trial"
                todo.remove(share)
        for place in floor.places:
            if place.running and draw.random() < 0.4:
                place.running = None
            if place.is_idle and draw.random() < 0.1:
                place.clear()
        for place in floor.arrange(now)[1]:
            if draw.random() < 0.7:
                start(floor, place)
    assert sum(place.share for place in floor.places if place.actor is not None) <= 2
