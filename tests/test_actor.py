"""What a worker says of trials that its machine cannot run."""

import pytest

from suite.actor import RayWorker, Reply
from suite.blocks import split
from suite.trial import Row
from suite.worker import Worker
from tests.test_packing import first, payload


def actor(monkeypatch, tmp_path, broken):
    """A worker in this process, in whose `suite.worker.Worker` something is replaced."""
    made = RayWorker(0.0, 1, {}, str(tmp_path))
    made._worker, made._split = Worker(), split
    if broken:
        monkeypatch.setattr(made._worker, "catalog", broken)
    return made


class Missing:
    """A catalog that finds a tree which is just being replaced."""

    def __init__(self, error):
        self.error = error

    def trial(self, spec):
        try:
            raise self.error
        except ImportError as error:
            raise ValueError("a competitor raises ImportError when it is imported") from error


@pytest.mark.parametrize("error", [ImportError("no such module"), FileNotFoundError("mlp.py"), SyntaxError("half a file")])
def test_what_is_missing_on_a_machine_says_nothing_about_the_trial(monkeypatch, tmp_path, error):
    reply = actor(monkeypatch, tmp_path, Missing(error)).run(payload(first("sgd"), 1), "packed")
    assert (reply.rows, reply.blocks, reply.is_faulty) == ([], [], True)
    assert type(error).__name__ in reply.trouble


def test_a_mistake_in_a_trial_is_raised(monkeypatch, tmp_path):
    with pytest.raises(TypeError, match="a mistake"):
        actor(monkeypatch, tmp_path, Missing(TypeError("a mistake"))).run(payload(first("sgd"), 1), "packed")


def test_curves_travel_by_column(monkeypatch, tmp_path):
    reply = actor(monkeypatch, tmp_path, None).run(payload(first("sgd"), 1), "exclusive")
    assert [row.table for row in reply.rows] == ["trials"]
    assert reply.rows[0].values["timing"] == "exclusive"
    assert [block.table for block in reply.blocks] == ["metrics"]
    assert {len(column) for column in reply.blocks[0].columns.values()} == {len(reply.blocks[0].columns["step"])}
    assert not reply.is_faulty


def test_a_device_fault_makes_a_reply_faulty():
    row = Row("trials", {"status": "error", "message": "CUDA: an illegal memory access"})
    assert Reply([row], [], 0).is_faulty
