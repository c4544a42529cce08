"""The training loop: reproducible, paired across methods, and every end as one row."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from baselines.contract import Network, Optimizer, Probe, tunable
from baselines.stable.antisymmetric import Antisymmetric
from baselines.standard.mlp import Mlp
from baselines.standard.sgd import Sgd
from suite.batches import Batches
from suite.memory import LiveBytes
from suite.session import Session, built, placed
from suite.train import load, train
from suite.trial import Status, Trial
from tasks.contract import Split
from tasks.digits import Digits

CLOCKS = {"seconds", "warmup_seconds", "wall_seconds", "target_seconds"}


class Momentous(Optimizer):
    """Another method, with noise of its own."""

    lr: float = tunable(0.1, 1e-3, 1.0, log=True)

    def init(self, params):
        return {name: torch.zeros_like(p) for name, p in params.items()}

    def step(self, oracle, params, state, generator, rate):
        _, grads = oracle.grad(params)
        state = {name: 0.5 * state[name] + g for name, g in grads.items()}
        noise = torch.rand((), generator=generator)
        return {name: p - self.lr * rate * noise * state[name] for name, p in params.items()}, state


class Raising(Momentous):
    """Breaks in its fifth step."""

    def step(self, oracle, params, state, generator, rate):
        state["count"] = state.get("count", 0) + 1
        if state["count"] == 5:
            raise ZeroDivisionError("five")
        oracle.grad(params)
        return params, state


class Poisoned(Momentous):
    """Returns NaN from its seventh step on."""

    def step(self, oracle, params, state, generator, rate):
        oracle.grad(params)
        state["count"] = state.get("count", 0) + 1
        factor = math.nan if state["count"] >= 7 else 1.0
        return {name: p * factor for name, p in params.items()}, state


class Idle(Momentous):
    """Asks for nothing."""

    def step(self, oracle, params, state, generator, rate):
        return params, state


class Hungry(Momentous):
    """Runs out of memory."""

    def step(self, oracle, params, state, generator, rate):
        raise torch.OutOfMemoryError("too much")


class Wandering(Momentous):
    """Walks at random."""

    def step(self, oracle, params, state, generator, rate):
        oracle.grad(params)
        return {name: p + torch.randn(p.shape, generator=generator) for name, p in params.items()}, state


class BreaksAtTheEnd(Digits):
    """Metrics that fail on the test split."""

    def metrics(self, prediction, target):
        if torch.equal(target, load(trial()).test.y):
            raise OverflowError("metric")
        return super().metrics(prediction, target)


class Singular(Momentous):
    """Solves a system that becomes singular."""

    def step(self, oracle, params, state, generator, rate):
        oracle.grad(params)
        torch.linalg.solve(torch.zeros(2, 2), torch.ones(2))
        return params, state


class Norm(Probe):
    """Size of the last update."""

    interval: int = 7

    def measure(self, context):
        difference = [(context.params[n] - context.previous[n]).norm() for n in context.params]
        return {"update": torch.stack(difference).norm(), "loss": context.oracle.grad(context.params)[0]}


class Last(Norm):
    """The same, once."""

    at_end = True


class Broken(Norm):
    """A measuring instrument with a defect."""

    def measure(self, context):
        raise KeyError(16)


class Grower(nn.Module):
    """A residual network that can double its depth."""

    def __init__(self, features, outputs):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(features, features)])
        self.head = nn.Linear(features, outputs)

    def forward(self, x):
        x = x.flatten(1)
        for block in self.blocks:
            x = x + torch.tanh(block(x)) / len(self.blocks)
        return self.head(x)

    def stability(self):
        """As if the largest stable step were one."""
        return torch.full((len(self.blocks),), 1 / len(self.blocks))

    def prolong(self):
        """Repeat each block."""
        size = self.blocks[0].in_features
        blocks = [nn.Linear(size, size) for _ in range(2 * len(self.blocks))]
        for i, block in enumerate(blocks):
            block.load_state_dict(self.blocks[i // 2].state_dict())
        self.blocks = nn.ModuleList(blocks)


class Growing(Network):
    """Depth 4, in two prolongations."""

    stages = (0.25, 0.5)

    def build(self, in_shape, out_features):
        return Grower(math.prod(in_shape), out_features)


def trial(optimizer=None, **changes):
    spec = {"task": Digits(), "network": Mlp(width=16), "optimizer": optimizer or Sgd(lr=0.1), "budget": 60.0}
    return Trial(**{**spec, **changes})


def session(a_trial):
    cpu = torch.device("cpu")
    return Session(a_trial, built(a_trial, cpu), placed(load(a_trial), a_trial, cpu), cpu, {})


def outcome(a_trial, **options):
    rows = list(train(a_trial, **options))
    assert [row.table for row in rows].count("trials") == 1
    assert rows[-1].table == "trials"
    return rows, rows[-1].values


def timeless(rows):
    return [(row.table, {name: value for name, value in row.values.items() if name not in CLOCKS}) for row in rows]


@pytest.mark.parametrize("optimizer", [Sgd(lr=0.1), Momentous()], ids=["sgd", "noisy"])
def test_the_same_trial_twice_is_bitwise_the_same(optimizer):
    memo = {}
    assert timeless(train(trial(optimizer), memo=memo)) == timeless(train(trial(optimizer), memo=memo))
    assert timeless(train(trial(optimizer))) == timeless(train(trial(optimizer), memo=memo))


def test_methods_share_initial_parameters_and_batches():
    pairs = ((Sgd(lr=0.1), "relu"), (Momentous(), "tanh"))
    sessions = [session(trial(optimizer, network=Mlp(width=16, activation=kind))) for optimizer, kind in pairs]
    for name, value in sessions[0].params.items():
        assert torch.equal(value, sessions[1].params[name])
    for _, a, b in zip(range(40), *(session.batches for session in sessions), strict=False):
        assert torch.equal(a[0], b[0])
        assert torch.equal(a[1], b[1])


def test_another_seed_changes_initial_parameters_order_and_split():
    first, second = (session(trial(seed=s)) for s in (0, 1))
    assert not torch.equal(next(iter(first.params.values())), next(iter(second.params.values())))
    assert not torch.equal(next(iter(first.batches))[0], next(iter(second.batches))[0])
    assert torch.equal(first.splits.test.x, second.splits.test.x)


@pytest.mark.parametrize(
    ("changes", "shared"),
    [({"stage": "retime"}, True), ({"stage": "tune"}, False), ({"alias": "again"}, False), ({"budget": 61.0}, True)],
    ids=str,
)
def test_streams_follow_stage_and_alias(changes, shared):
    other = trial(**changes)
    assert (other.stream("order") == trial().stream("order")) is shared
    assert other.key != trial().key


def test_a_trial_runs_to_its_budget_in_gradient_equivalents():
    _, row = outcome(trial())
    assert row["status"] == "completed"
    assert row["steps"] == 60
    assert row["gradients"] == pytest.approx(60)
    assert row["final_test"] > 0.3
    assert row["peak_bytes"] > 4 * row["parameters"] > 0


@pytest.mark.parametrize(
    ("optimizer", "status", "message"),
    [
        (Raising(), Status.ERROR, "ZeroDivisionError: five (test_train.py:"),
        (Poisoned(), Status.NONFINITE, "training loss was nan in step 8"),
        (Idle(), Status.ERROR, "asked its oracle for nothing"),
        (Hungry(), Status.OUT_OF_MEMORY, "too much"),
        (Wandering(), Status.DIVERGED, "at the start"),
        (Singular(), Status.NONFINITE, "singular"),
        (Sgd(lr=1e30), Status.NONFINITE, "in step"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_failure_is_one_row_with_status_message_and_flight(optimizer, status, message):
    rows, row = outcome(trial(optimizer, budget=200.0))
    assert row["status"] == status
    assert message in row["message"]
    assert row["final_test"] is None
    steps = [r.values["step"] for r in rows if r.table == "flight" and r.values["name"] == "loss"]
    assert steps == list(range(max(1, row["steps"] - 199), row["steps"] + 1))


def test_a_non_finite_loss_is_dated_back_between_log_points():
    _, row = outcome(trial(Poisoned(), budget=2000.0))
    assert row["message"] == "training loss was nan in step 8"
    assert row["steps"] == 50


def test_a_time_limit_keeps_the_curve():
    rows, row = outcome(trial(budget=1e9), timeout=0.5)
    assert row["status"] == "timeout"
    assert row["steps"] > 0
    assert any(r.table == "metrics" and r.values["split"] == "validation" for r in rows)


class FirstOrder(Network):
    """Offers nothing but gradients."""

    offers = frozenset({"grad"})

    def build(self, in_shape, out_features):
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(in_shape), out_features))


class Curved(Momentous):
    """Needs curvature."""

    needs = frozenset({"curvature"})


class Cumulative(Network):
    """Declares more than a cumulative product can give."""

    def build(self, in_shape, out_features):
        class Product(nn.Module):
            def forward(self, x):
                return x.cumprod(1)

        size = math.prod(in_shape)
        return nn.Sequential(nn.Flatten(), nn.Linear(size, 8), Product(), nn.Linear(8, out_features))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"network": FirstOrder(), "optimizer": Curved()}, "needs curvature, which test_train does not offer"),
        ({"network": Cumulative(), "optimizer": Curved()}, "CumprodBackward0"),
        ({"optimizer": Curved(), "clip": 1.0}, "clipping acts on the gradient"),
    ],
    ids=["declared", "found in the graph", "clipping"],
)
def test_a_pair_that_cannot_work_is_skipped_with_the_reason(changes, reason):
    _, row = outcome(trial(**changes))
    assert row["status"] == "skipped"
    assert reason in row["message"]
    assert row["steps"] == 0


def test_the_target_is_crossed_once_on_every_clock(monkeypatch):
    monkeypatch.setattr(Digits, "target_value", 0.3)
    rows, row = outcome(trial(budget=100.0))
    points = [r.values for r in rows if r.values.get("split") == "validation" and r.values["name"] == "accuracy"]
    curve = [(point["step"], point["value"]) for point in points]
    assert row["target_step"] == next(step for step, value in curve if value >= 0.3)
    assert row["target_gradients"] == row["target_step"]


def test_test_metrics_are_read_at_the_end_and_at_the_best_point_only():
    rows, row = outcome(trial())
    tests = {(r.values["split"], r.values["step"]) for r in rows if r.table == "metrics" and "test" in r.values["split"]}
    assert tests == {("test", row["steps"]), ("test_at_best", row["best_step"])}


def test_a_failure_of_the_last_evaluation_is_not_a_completed_trial():
    _, row = outcome(trial(task=BreaksAtTheEnd()))
    assert (row["status"], row["steps"]) == ("error", 60)
    assert row["message"].startswith("OverflowError: metric")


def test_a_trial_does_not_depend_on_what_its_worker_ran_before():
    from suite.worker import Worker

    plain, clipped = (trial(clip=clip, budget=300.0) for clip in (None, 0.1))
    payload = {"grid": "g", "timeout": None, "attempt": 1, "fingerprint": "", "parts": "{}", "commit": ""}
    alone = Worker().run({"spec": as_in_the_tree(clipped).spec, **payload})[-1].values
    worker = Worker()
    worker.run({"spec": as_in_the_tree(plain).spec, **payload})
    after = worker.run({"spec": as_in_the_tree(clipped).spec, **payload})[-1].values
    assert [alone[name] for name in ("gradients", "steps", "final_loss")] == [
        after[name] for name in ("gradients", "steps", "final_loss")
    ]


def as_in_the_tree(a_trial):
    """The same trial; workers rebuild it by the names of its files."""
    assert {type(part).__module__.partition(".")[0] for part in (a_trial.task, a_trial.optimizer)} <= {"tasks", "baselines"}
    return a_trial


def test_calls_of_the_oracle_are_reported():
    assert outcome(trial())[1]["calls"] == {"grad": 60}


def test_memory_is_that_of_the_method_and_not_of_the_data():
    parameters = 4 * outcome(trial())[1]["parameters"]
    peak = outcome(trial())[1]["peak_bytes"]
    assert 3 * parameters <= peak <= 3 * parameters + 64 * 4 * (64 + 10 * 16)  # module, own copy, gradients; activations
    assert outcome(trial(precision="float64"))[1]["peak_bytes"] <= 2.1 * peak


def test_a_probe_at_the_end_is_measured_once_after_the_last_step():
    rows, row = outcome(trial(probes=(Last(interval=1),)))
    steps = [r.values["step"] for r in rows if r.values.get("name") == "test_train.update"]
    assert steps == [row["steps"]]
    failed, _ = outcome(trial(optimizer=Poisoned(), probes=(Last(),)))
    assert not [r for r in failed if r.values.get("split") == "probe"]


def test_a_probe_that_breaks_is_said_and_says_nothing_of_the_method():
    rows, row = outcome(trial(probes=(Broken(), Last())))
    assert (row["status"], row["final_test"]) == ("completed", outcome(trial())[1]["final_test"])
    assert row["message"].startswith("probe test_train failed: KeyError: 16 (test_train.py:")
    assert any(r.values.get("name") == "test_train.update" for r in rows)


def test_the_row_carries_the_stability_margin_of_a_network_that_states_one():
    assert outcome(trial(network=Growing()))[1]["stability_margin"] == 0.25  # at its final depth
    assert outcome(trial(budget=3))[1]["stability_margin"] is None
    swinging = outcome(trial(network=Antisymmetric(gamma=0.0, depth=2), budget=3))[1]
    assert (swinging["status"], swinging["stability_margin"]) == ("completed", math.inf)
    assert swinging["message"] == "a layer is stable at no step"


def test_probes_run_on_their_schedule_and_change_nothing():
    rows, row = outcome(trial(probes=(Norm(),)))
    plain, bare = outcome(trial())
    assert sorted(
        {r.values["step"] for r in rows if r.values.get("split") == "probe" and r.values["name"] == "test_train.update"}
    ) == list(range(1, 61, 7))
    assert row["final_test"] == bare["final_test"]
    assert row["gradients"] == bare["gradients"]
    assert len(plain) < len(rows)


def test_a_multilevel_network_is_charged_in_units_of_its_final_depth():
    rows, row = outcome(trial(network=Growing(), budget=80.0))
    assert row["status"] == "completed"
    assert row["steps"] > 80  # coarse gradients cost less
    assert row["gradients"] == pytest.approx(80, abs=1.0)
    assert row["parameters"] < row["peak_bytes"]
    losses = [r.values["value"] for r in rows if r.values.get("split") == "train"]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("schedule", ["cosine", "step"])
def test_schedules_change_the_result_and_decay_joins_the_loss(schedule):
    results = {outcome(t)[1]["final_loss"] for t in (trial(), trial(schedule=schedule), trial(weight_decay=0.1))}
    assert len(results) == 3


@pytest.mark.parametrize("precision", ["float64", "bfloat16"])
def test_precisions(precision):
    assert outcome(trial(precision=precision))[1]["status"] == "completed"


def test_full_batches_and_epochs():
    split = Split(torch.arange(10.0).reshape(10, 1), torch.arange(10))
    batches = Batches(split, 4, order=1, fresh=2)
    stream = iter(batches)
    epoch = torch.cat([next(stream)[1], next(stream)[1]])
    assert len(set(epoch.tolist())) == 8
    assert len(set(batches.draw()[1].tolist())) == 4
    assert torch.equal(next(iter(Batches(split, 99, order=1, fresh=2)))[1], split.y)


def test_live_bytes_follow_what_is_held():
    with LiveBytes() as meter:
        kept = torch.zeros(1000)
        for _ in range(5):
            torch.ones(500).add_(1)
        del _
    assert meter.peak == 4000 + 2000
    assert meter.live == 4000
    del kept
    assert meter.live == 0


@pytest.mark.parametrize(
    ("field", "value"), [("stage", "train"), ("schedule", "linear"), ("precision", "int8"), ("budget", 0)]
)
def test_impossible_trials_are_refused(field, value):
    with pytest.raises(ValueError, match=field):
        replace(trial(), **{field: value})
