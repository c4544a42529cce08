"""The trial loop against a bare PyTorch loop that does the same training and the same evaluations, in one run."""

import os
from pathlib import Path
from statistics import median
from time import perf_counter

import pytest
import torch

from baselines.standard.convnet import Convnet
from baselines.standard.mlp import Mlp
from baselines.standard.sgd import Sgd
from suite.train import LOG_POINTS, train
from suite.trial import Trial
from tasks.digits import Digits
from tasks.mnist import MNIST

DATA = Path(os.environ.get("FOSBENCH_DATA", Path(__file__).parents[3] / "shared" / "data"))


def bare(trial, splits, steps):
    """What a user would write by hand: same network, data, optimizer and evaluations."""
    task = trial.task
    torch.manual_seed(trial.stream("init"))
    module = trial.network.build(task.in_shape, task.out_features)
    optimizer = torch.optim.SGD(module.parameters(), lr=trial.optimizer.lr)
    x, y = splits.train
    size = task.batch_size
    done, every = 0, max(1, steps // LOG_POINTS)
    while True:
        order = torch.randperm(len(x))
        for start in range(0, len(x) - size + 1, size):
            index = order[start : start + size]
            loss = task.loss(module(x[index]), y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            done += 1
            if done % every == 0:
                module.eval()
                with torch.no_grad():
                    values = task.metrics(module(splits.validation.x), splits.validation.y)
                    assert float(values["loss"]) == pytest.approx(float(values["loss"]))
                module.train()
            if done == steps:
                return module


def ratio(trial, splits, steps, rounds):
    """Median over rounds of the wall time of a trial, all of it, over that of the bare loop."""
    memo, ratios = {}, []
    list(train(trial, lambda _: splits, memo=memo))
    for _ in range(rounds):
        start = perf_counter()
        rows = list(train(trial, lambda _: splits, memo=memo))
        middle = perf_counter()
        bare(trial, splits, steps)
        ratios.append((middle - start) / (perf_counter() - middle))
        assert rows[-1].values["steps"] == steps
    return median(ratios)


def report(benchmark, bar, value):
    benchmark.extra_info["ratio"] = value
    print(f"\ntrial loop / bare loop: {value:.3f} (bar {bar})")
    assert value <= bar


def test_mlp_on_digits(benchmark):
    torch.set_num_threads(1)
    trial = Trial(task=Digits(), network=Mlp(), optimizer=Sgd(lr=0.1), budget=4000.0)
    splits = trial.task.load(None, torch.Generator().manual_seed(0))
    report(benchmark, 1.10, benchmark.pedantic(ratio, args=(trial, splits, 4000, 7), rounds=1))


@pytest.mark.skipif(not (DATA / "MNIST").is_dir(), reason="needs MNIST: set FOSBENCH_DATA")
def test_convnet_on_mnist(benchmark):
    torch.set_num_threads(1)
    trial = Trial(task=MNIST(), network=Convnet(), optimizer=Sgd(lr=0.05), budget=400.0)
    splits = trial.task.load(DATA, torch.Generator().manual_seed(0))
    splits = splits._replace(validation=type(splits.test)(*(t[:500] for t in splits.validation)),
                             test=type(splits.test)(*(t[:500] for t in splits.test)))  # fmt: skip
    report(benchmark, 1.03, benchmark.pedantic(ratio, args=(trial, splits, 400, 3), rounds=1))
