"""What is tried again, and how a trial ends that is not."""

from dataclasses import replace

import pytest

from suite.agenda import Job
from suite.executor import WHOLE, Answer, Cause
from suite.retry import ATTEMPTS, judge
from suite.trial import Row
from tests.test_run import StubExecutor, cell, drive, end, stored

(TRIAL,) = cell(seeds=1).trials()
JOB = Job((0.0, 0, 0), TRIAL, share=0.25)


def rows(status, **values):
    return [
        Row("trials", {"key": TRIAL.key, "status": status, "message": "", "device": "H200", "timing": "packed", **values})
    ]


@pytest.mark.parametrize("status", ["completed", "diverged", "nonfinite", "timeout", "error", "skipped"])
def test_results_are_kept(status):
    assert judge(JOB, Answer(TRIAL.key, rows(status))).cause == ""


@pytest.mark.parametrize(
    ("cause", "attempts", "status"),
    [
        (Cause.WORKER, ATTEMPTS, "lost"),
        (Cause.MEMORY, ATTEMPTS, "lost"),
        (Cause.ERROR, 1, "error"),
        (Cause.TIMEOUT, 1, "timeout"),
    ],
)
def test_attempts_by_cause(cause, attempts, status):
    job, answer = JOB, Answer(TRIAL.key, None, cause, "why")
    for _ in range(attempts - 1):
        verdict = judge(job, answer)
        assert (verdict.cause, verdict.share) == (cause, 0.25)
        job = replace(job, causes=(*job.causes, verdict.cause))
    assert judge(job, answer).cause == ""
    assert judge(job, answer).status == status


def test_workers_that_die_and_hosts_without_memory_are_counted_apart():
    job = replace(JOB, causes=(Cause.WORKER, Cause.WORKER))
    assert judge(job, Answer(TRIAL.key, None, Cause.MEMORY)).cause
    assert not judge(job, Answer(TRIAL.key, None, Cause.WORKER)).cause


def test_device_memory_is_asked_for_once_more_alone():
    packed = Answer(TRIAL.key, rows("out_of_memory"))
    verdict = judge(JOB, packed)
    assert (bool(verdict.cause), verdict.share) == (True, WHOLE)
    assert not judge(replace(JOB, causes=(verdict.cause,)), packed).cause
    assert not judge(JOB, Answer(TRIAL.key, rows("out_of_memory", timing="exclusive"))).cause
    assert not judge(JOB, Answer(TRIAL.key, rows("out_of_memory", device="cpu"))).cause


def test_a_device_fault_on_a_used_worker_is_tried_again_once():
    fault = rows("error", message="CUDA: AcceleratorError: an illegal memory access was encountered")
    verdict = judge(JOB, Answer(TRIAL.key, fault, is_fresh=False))
    assert (bool(verdict.cause), verdict.share) == (True, 0.25)
    assert not judge(replace(JOB, causes=(verdict.cause,)), Answer(TRIAL.key, fault, is_fresh=False)).cause
    assert not judge(JOB, Answer(TRIAL.key, fault, is_fresh=True)).cause
    assert not judge(JOB, Answer(TRIAL.key, rows("error", message="KeyError: 'CUDA'"), is_fresh=False)).cause


@pytest.mark.parametrize("fits", [True, False])
def test_out_of_memory_on_a_shared_device_ends_alone_on_one(tmp_path, fits):
    def ends(trial, attempt):
        alone = attempt == 2
        status = "completed" if alone and fits else "out_of_memory"
        return end(trial, status, device="H200", timing="exclusive" if alone else "packed")

    executor, made = drive(tmp_path, [cell(seeds=2)], StubExecutor(ends))
    assert executor.shares == [None, None, WHOLE, WHOLE]
    assert {row["status"] for row in stored(tmp_path).values()} == {"completed" if fits else "out_of_memory"}
    assert (made.tally.run, made.tally.again) == (2, 2)
