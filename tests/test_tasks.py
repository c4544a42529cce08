"""Every task keeps its contract, and each holds the data or the function that it states."""

import importlib
import inspect
import os
import pickle
import pkgutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import tasks
from tasks import classification, embedded, ett, images, peaks, regression, series
from tasks.cifar10 import CIFAR10
from tasks.contract import Task
from tasks.diabetes import Diabetes
from tasks.digits import Digits
from tasks.double_circles import DoubleCircles
from tasks.ellipses import Ellipses
from tasks.etth1 import ETTh1
from tasks.etth2 import ETTh2
from tasks.fashion_mnist import FashionMNIST
from tasks.few_samples import FewSamples
from tasks.files import existing
from tasks.mnist import MNIST
from tasks.quadratic import Quadratic
from tasks.rosenbrock import Rosenbrock
from tasks.sine_mix import SineMix
from tasks.splitting import divide, fixed_generator, standardised, stratified
from tasks.swiss_roll import SwissRoll

ROOT = Path(os.environ.get("FOSBENCH_DATA") or Path(__file__).parents[2] / "shared" / "data")
EMBEDDED = ("digits", "breast_cancer", "wine", "diabetes")


def found():
    """Every task of the folder by its file's name, with the mark of those that need data."""
    for module in pkgutil.iter_modules(tasks.__path__):
        members = vars(importlib.import_module(f"tasks.{module.name}")).values()
        here = [c for c in members if inspect.isclass(c) and c.__module__ == f"tasks.{module.name}" and issubclass(c, Task)]
        for competitor in (c for c in here if not inspect.isabstract(c)):
            needs_data = [pytest.mark.data] if competitor.needs_data else []
            given = {"task": Digits(), "per_class": 7} if competitor is FewSamples else {}
            yield pytest.param(competitor(**given), id=module.name, marks=needs_data)


FOUND = list(found())
DOWNLOADS = [case for case in FOUND if case.marks]
every_task = pytest.mark.parametrize("task", FOUND)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def load(task, seed=0):
    """The data of a task, or a skip where they are not on this machine."""
    try:
        return task.load(ROOT, seeded(seed))
    except FileNotFoundError as missing:
        pytest.skip(str(missing))


def same(one, other):
    return torch.equal(one.x, other.x) and torch.equal(one.y, other.y)


# -- the contract, for every file in tasks/ ---------------------------------------------------------------------------


def test_each_file_holds_one_task():
    names = [case.id for case in FOUND]
    assert len(names) == len(set(names)) >= 16
    assert all(case.values[0] == pickle.loads(pickle.dumps(case.values[0])) for case in FOUND)


@every_task
def test_splits_have_the_stated_shapes_and_types(task):
    for split in load(task):
        assert split.x.shape[1:] == (task.in_shape or (0,))
        assert len(split.x) == len(split.y) > 0
        assert split.x.dtype == torch.float32
        assert split.x.isfinite().all()
        if split.y.dtype == torch.int64:
            assert split.y.ndim == 1
            assert split.y.unique().tolist() == list(range(task.out_features))
        else:
            assert split.y.dtype == torch.float32
            assert split.y.shape[1:] == (task.out_features,)
            assert split.y.isfinite().all()


@every_task
def test_seeds_redraw_train_and_validation_only(task):
    first, again, other = load(task, 1), load(task, 1), load(task, 2)
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    assert same(first.test, other.test)
    if len(task.in_shape) in (1, 3):  # time series and functions have nothing to redraw
        assert not same(first.train, other.train)
        assert not same(first.validation, other.validation)


@every_task
def test_loading_leaves_the_global_generator_alone(task):
    state = torch.get_rng_state()
    load(task)
    assert torch.equal(torch.get_rng_state(), state)


@every_task
def test_metrics_are_scalars_with_loss_and_primary(task):
    y = load(task).test.y[:50]
    prediction = torch.randn(len(y), task.out_features, generator=seeded(0))
    values = task.metrics(prediction, y)
    assert {"loss", task.primary} <= set(values)
    assert all(value.ndim == 0 and value.isfinite() for value in values.values())
    torch.testing.assert_close(values["loss"], task.loss(prediction, y))


@every_task
def test_loss_differentiates_forwards_twice_as_backwards(task):
    y = load(task).test.y[:4]
    y = y.double() if y.is_floating_point() else y
    prediction, direction = torch.randn(2, len(y), task.out_features, generator=seeded(0), dtype=torch.float64)

    def slope(z):
        return torch.func.jvp(lambda p: task.loss(p, y), (z,), (direction,))[1]

    gradient = torch.func.grad(task.loss)(prediction, y)
    torch.testing.assert_close(slope(prediction), (gradient * direction).sum())
    leaf = prediction.clone().requires_grad_()
    (first,) = torch.autograd.grad(task.loss(leaf, y), leaf, create_graph=True)
    (product,) = torch.autograd.grad((first * direction).sum(), leaf)
    torch.testing.assert_close(torch.func.jvp(slope, (prediction,), (direction,))[1], (product * direction).sum())


@every_task
def test_loss_is_the_mean_over_rows(task):
    y = load(task).test.y[:1].repeat_interleave(3, 0)
    prediction = torch.randn(3, task.out_features, generator=seeded(0))
    rows = torch.stack([task.loss(prediction[i : i + 1], y[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(task.loss(prediction, y), rows.mean())


@every_task
def test_what_a_task_states_is_usable(task):
    assert isinstance(task.higher_is_better, bool)
    assert task.batch_size >= 1
    assert task.budget > 0
    assert task.reference_network.partition("(")[0].isidentifier()
    assert not type(task).__doc__.startswith(type(task).__name__ + "(")  # what a dataclass writes where there is none


# -- dividing rows ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_rows_are_used_once_each(name):
    task = next(case.values[0] for case in FOUND if case.id == name)
    rows = torch.cat([split.x for split in load(task)]).flatten(1)
    raw = embedded.read(name)["x"]
    assert len(rows) == len(raw)
    assert len(rows.unique(dim=0)) == len(raw.unique(dim=0)) > 0.99 * len(raw)


@pytest.mark.parametrize(("counts", "size"), [((50, 30, 20), 10), ((7, 7, 7), 5), ((1, 99), 50), ((3, 4), 0), ((3, 4), 7)])
def test_stratified_parts_are_off_by_less_than_one_row(counts, size):
    strata = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    strata = strata[torch.randperm(len(strata), generator=seeded(1))]
    rest, part = stratified(strata, size, seeded(0))
    assert torch.cat([rest, part]).sort().values.tolist() == list(range(sum(counts)))
    assert len(part) == size
    off = torch.bincount(strata[part], minlength=len(counts)) - torch.tensor(counts) * size / sum(counts)
    assert off.abs().max() < 1


def test_stratified_draws_every_row_equally_often():
    strata = torch.tensor([0, 1, 0, 1, 0, 1, 0, 0])
    generator = seeded(0)
    hits = sum(torch.bincount(stratified(strata, 4, generator)[1], minlength=8) for _ in range(2000)) / 2000
    exact = torch.where(strata == 0, 3 / 5, 1 / 3)  # 2.5 and 1.5 rows: the tie goes to the first stratum
    torch.testing.assert_close(hits, exact, atol=0.045, rtol=0)  # four standard errors


def test_divided_rows_partition_the_data_and_share_their_test_rows():
    strata = torch.arange(100) % 3
    one, other = divide(strata, "name", seeded(1)), divide(strata, "name", seeded(2))
    assert torch.cat([one.train, one.validation, one.test]).sort().values.tolist() == list(range(100))
    assert torch.equal(one.test, other.test)
    assert torch.equal(one.development, torch.cat([other.train, other.validation]).sort().values)
    assert not torch.equal(one.test, divide(strata, "another name", seeded(1)).test)


def test_standardised_uses_reference_rows_only():
    x = torch.randn(50, 3, generator=seeded(0)) * 4 + 2
    x[:, 1] = 7.0
    reference = torch.arange(30)
    result = standardised(x, reference).numpy()
    exact = x.numpy().astype(np.float64)
    np.testing.assert_allclose(result[:, 0], (exact[:, 0] - exact[:30, 0].mean()) / exact[:30, 0].std(), rtol=1e-6)
    np.testing.assert_array_equal(result[:, 1], 0)
    x[30:] = 1e6
    assert torch.equal(standardised(x, reference)[:30], torch.from_numpy(result[:30]))


@pytest.mark.parametrize("name", ["breast_cancer", "wine", "diabetes"])
def test_statistics_do_not_see_test_rows(name):
    splits = load(next(case.values[0] for case in FOUND if case.id == name))
    development = torch.cat([splits.train.x, splits.validation.x]).double()
    torch.testing.assert_close(development.mean(0), torch.zeros(len(development[0])).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(development.std(0, correction=0), torch.ones(len(development[0])).double())
    assert (splits.test.x.mean(0).abs() > 1e-3).any()


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "wine"])
def test_embedded_classes_keep_their_shares(name):
    splits = load(next(case.values[0] for case in FOUND if case.id == name))
    counts = torch.stack([torch.bincount(split.y) for split in splits]).double()
    exact = counts.sum(0) / counts.sum() * counts.sum(1, keepdim=True)
    assert (counts - exact).abs().max() < 2  # two roundings for train: of test, then of validation


# -- losses and metrics -------------------------------------------------------------------------------------------------


def test_classification_agrees_with_numpy():
    z, y = torch.randn(40, 5, generator=seeded(0)), torch.arange(40) % 5
    exact = z.numpy().astype(np.float64)
    nats = np.log(np.exp(exact).sum(1)) - exact[np.arange(40), y.numpy()]
    values = classification.metrics(z, y)
    assert float(values["loss"]) == pytest.approx(nats.mean(), rel=1e-6)
    assert float(values["accuracy"]) == pytest.approx((exact.argmax(1) == y.numpy()).mean())


def test_regression_agrees_with_numpy():
    z, y = torch.randn(2, 40, 3, generator=seeded(0))
    error = (z - y).numpy().astype(np.float64)
    values = {name: float(value) for name, value in regression.metrics(z, y).items()}
    assert values == pytest.approx({"loss": (error**2).mean(), "mse": (error**2).mean(), "mae": abs(error).mean()}, rel=1e-6)


@pytest.mark.parametrize(("kit", "target"), [(classification, torch.arange(1000) % 3), (regression, torch.ones(1000, 3))])
def test_metrics_of_half_precision_are_not_half_precision(kit, target):
    z = torch.randn(1000, 3, generator=seeded(0)).bfloat16()
    half, single = kit.metrics(z, target), kit.metrics(z.float(), target)
    assert all(half[name].dtype in (torch.float32, torch.float64) and half[name] == single[name] for name in single)


# -- generated problems -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("per_class", [1, 5, 50, 1000])
def test_few_samples_keeps_that_many_of_each_class(per_class):
    whole, few = Digits(), FewSamples(task=Digits(), per_class=per_class)
    all_of_them, kept = load(whole, 3), load(few, 3)
    counts = torch.bincount(all_of_them.train.y)
    assert torch.equal(torch.bincount(kept.train.y), counts.clamp(max=per_class))
    assert all(same(a, b) for a, b in zip(all_of_them[1:], kept[1:], strict=True))
    rows = {tuple(row) for row in all_of_them.train.x.flatten(1).tolist()}
    assert {tuple(row) for row in kept.train.x.flatten(1).tolist()} <= rows


def test_few_samples_says_of_itself_what_its_task_says():
    few = FewSamples(task=SwissRoll(), per_class=1)
    assert (few.in_shape, few.out_features, few.reference_network) == ((2,), 2, SwissRoll.reference_network)
    assert (few.target, few.budget, few.primary) == (None, SwissRoll.budget, "accuracy")
    with pytest.raises(ValueError, match="Diabetes has none"):
        FewSamples(task=Diabetes())
    with pytest.raises(ValueError, match="at least 1: 0"):
        FewSamples(task=Digits(), per_class=0)


def test_swiss_roll_has_the_published_class_counts():
    splits = load(SwissRoll())
    x, y = torch.cat([splits.train.x, splits.validation.x]), torch.cat([splits.train.y, splits.validation.y])
    assert torch.bincount(y).tolist() == [257, 256]
    assert torch.bincount(splits.test.y).tolist() == [256, 257]
    assert len(splits.validation.y) == 103
    assert len(torch.cat([x, splits.test.x]).unique(dim=0)) == 1026
    ends = torch.tensor([[0.2, 0.0], [1.2, 0.0]])  # of the second spiral: rows 514 and 1,026, which are even
    torch.testing.assert_close(splits.test.x[[256, -1]], ends, atol=1e-6, rtol=0)


def test_swiss_roll_points_lie_on_their_spiral():
    for x, y in load(SwissRoll()):
        radius = x.double().norm(dim=1) - 0.2 * y  # runs from 0 to 1 while the angle runs over two turns
        angle = 4 * torch.pi * radius
        on_spiral = x.double().norm(dim=1, keepdim=True) * torch.stack([angle.cos(), angle.sin()], dim=1)
        torch.testing.assert_close(x.double(), on_spiral, atol=3e-6, rtol=0)
        assert -1e-6 <= radius.min() <= radius.max() <= 1 + 1e-6


def test_peaks_has_the_published_extremes():
    points, height = peaks.grid()
    assert len(points) == 256**2
    assert float(height.min()) == pytest.approx(-6.5497192262, abs=5e-11)
    assert float(height.max()) == pytest.approx(8.1053934468, abs=5e-11)


def test_peaks_labels_are_bands_of_equal_width():
    edges = np.linspace(-6.5497192262, 8.1053934468, 6)
    for x, y in load(peaks.Peaks()):
        a, b = x.double().numpy().T
        height = 3 * (1 - a) ** 2 * np.exp(-(a**2) - (b + 1) ** 2) - np.exp(-((a + 1) ** 2) - b**2) / 3
        height -= 10 * (a / 5 - a**3 - b**5) * np.exp(-(a**2) - b**2)
        assert (edges[y] - 1e-5 < height).all()
        assert (height < edges[y + 1] + 1e-5).all()
        assert torch.bincount(y).tolist() == [200] * 5


def test_ellipses_labels_tell_inside_from_outside():
    for (x, y), each in zip(load(Ellipses()), (1000, 200, 200), strict=True):
        radius = torch.hypot(x[:, 0], x[:, 1] / 0.4)
        assert torch.equal(y, (radius > 1).long())
        assert radius.max() <= 2 + 1e-6
        assert torch.bincount(y).tolist() == [each, each]


def test_double_circles_alternate_by_radius():
    for (x, y), count in zip(load(DoubleCircles()), (4000, 1000, 4000), strict=True):
        circle = x.norm(dim=1).round().long()  # the noise shifts a radius by 0.42 at most
        assert torch.bincount(circle).tolist() == [0] + [count // 4] * 4
        assert torch.equal(y, (circle + 1) % 2)


# -- analytic functions -------------------------------------------------------------------------------------------------


def curvature_of(task, at=1.0):
    point = torch.full((1, task.out_features), at, dtype=torch.float64)
    target = torch.ones_like(point)
    return torch.func.hessian(lambda z: task.loss(z, target))(point).reshape(task.out_features, task.out_features)


@pytest.mark.parametrize(("condition", "dimension"), [(100.0, 20), (1.0, 3), (1e6, 2), (1e4, 50)])
def test_quadratic_has_the_stated_eigenvalues(condition, dimension):
    A = curvature_of(Quadratic(condition=condition, dimension=dimension))
    eigenvalues = torch.linalg.eigvalsh(A)
    exact = condition ** (torch.arange(dimension, dtype=torch.float64) / (dimension - 1) - 1)
    torch.testing.assert_close(eigenvalues, exact, rtol=1e-9, atol=1e-15)
    if condition > 1:
        assert (A - A.diag().diag()).abs().max() > 0.01  # coordinates are not eigendirections


def test_quadratic_gradient_is_that_of_the_closed_form():
    task, n = Quadratic(condition=50.0, dimension=7), 7
    v = torch.arange(1, n + 1).double()
    H = torch.eye(n).double() - 2 * torch.outer(v, v) / (v @ v)
    A = H @ torch.diag(50.0 ** torch.linspace(-1, 0, n, dtype=torch.float64)) @ H
    point = torch.randn(n, dtype=torch.float64, generator=seeded(0))
    target = torch.ones(1, n, dtype=torch.float64)
    torch.testing.assert_close(torch.func.grad(task.loss)(point[None], target)[0], A @ (point - 1))
    torch.testing.assert_close(task.loss(point[None], target), 0.5 * (point - 1) @ A @ (point - 1))


@pytest.mark.parametrize("task", [Quadratic(), Quadratic(condition=1e4, dimension=3), Rosenbrock(), Rosenbrock(dimension=2)])
def test_analytic_minimum_is_zero_at_the_target(task):
    target = load(task).test.y
    assert {name: float(value) for name, value in task.metrics(target, target).items()} == {"loss": 0.0, "distance": 0.0}
    assert not torch.func.grad(task.loss)(target, target).any()
    assert torch.linalg.eigvalsh(curvature_of(task)).min() > 0
    assert float(task.metrics(target - 2, target)["distance"]) == pytest.approx(2 * task.dimension**0.5)


def test_rosenbrock_has_the_stated_local_minimum():
    task, theta = Rosenbrock(), torch.ones(1, 10, dtype=torch.float64)
    theta[0, 0] = -1.0
    for _ in range(8):  # Newton's method
        H = torch.func.hessian(lambda z: task.loss(z, z))(theta).reshape(10, 10)
        theta = theta - torch.linalg.solve(H, torch.func.grad(task.loss)(theta, theta)[0])
    assert torch.linalg.eigvalsh(H).min() > 0.1
    assert theta[0, 0] < -0.99
    assert float(task.loss(theta, theta)) == pytest.approx(3.987, abs=5e-4)


@pytest.mark.parametrize(
    ("point", "value", "gradient"),
    [
        ((-1.2, 1.0), 24.2, (-215.6, -88.0)),
        ((0.0, 1.0), 101.0, (-2.0, 200.0)),
        ((0.5, -0.5, 1.0, 2.0), 215.0, (149.0, -3.0, -250.0, 200.0)),
    ],
)
def test_rosenbrock_has_the_reference_values(point, value, gradient):
    task, theta = Rosenbrock(dimension=len(point)), torch.tensor([point], dtype=torch.float64)
    assert float(task.loss(theta, torch.ones_like(theta))) == pytest.approx(value, rel=1e-14)
    assert torch.func.grad(task.loss)(theta, theta)[0].tolist() == pytest.approx(gradient, rel=1e-13)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_analytic_losses_keep_the_type(dtype):
    for task in (Quadratic(), Rosenbrock()):
        target = torch.ones(1, task.dimension, dtype=dtype)
        assert task.loss(target / 2, target).dtype == dtype


@pytest.mark.parametrize(
    ("task", "field", "value", "message"),
    [
        (Quadratic(), "condition", 0.5, "condition must be a finite number of at least 1: 0.5"),
        (Quadratic(), "condition", float("nan"), "condition must be a finite number"),
        (Quadratic(), "condition", float("inf"), "condition must be a finite number"),
        (Quadratic(), "dimension", 1, "dimension must be at least 2: 1"),
        (Rosenbrock(), "dimension", 1, "dimension must be at least 2: 1"),
        (SineMix(), "window", 0, "window and horizon must be at least 1: window=0"),
        (SineMix(), "horizon", 401, "the horizon 400"),
        (SineMix(), "window", 2000, "their sum may be 2000"),
        (ETTh1(), "horizon", 2881, "the horizon 2880"),
        (ETTh2(), "window", -1, "window and horizon must be at least 1"),
    ],
)
def test_impossible_fields_are_refused(task, field, value, message):
    with pytest.raises(ValueError, match=message):
        replace(task, **{field: value})


# -- time series --------------------------------------------------------------------------------------------------------


def test_series_parts_follow_one_another():
    steps = torch.arange(30.0)[:, None].repeat(1, 2)
    parts = series.chronological(steps, (12, 20, 30), window=3, horizon=2)
    targets = [part.y[:, ::2] for part in parts]  # the first channel
    assert [(int(y.min()), int(y.max())) for y in targets] == [(3, 11), (12, 19), (20, 29)]
    for x, y in parts:
        assert torch.equal(y[:, :2], (x[:, -1:, 0] + 1).repeat(1, 2))
        assert torch.equal(x[:, 1:], x[:, :-1] + 1)


@pytest.mark.parametrize("fields", [{"window": 1999}, {"horizon": 400}, {"window": 1600, "horizon": 400}])
def test_the_largest_windows_still_fit(fields):
    assert all(len(split.x) for split in load(SineMix(**fields)))


def test_sine_mix_is_the_stated_series():
    splits = load(SineMix())
    assert [len(split.x) for split in splits] == [1984, 400, 600]
    assert torch.equal(splits.test.x[1:, -1], splits.test.y[:-1])
    t = np.arange(3000)
    clean = np.sin(0.05 * t) + 0.5 * np.sin(0.17 * t + 1)
    whole = torch.cat([splits.train.x[0, :, 0], *(split.y[:, 0] for split in splits)]).numpy()
    slope, level = np.polyfit(clean, whole, 1)
    noise = (whole - slope * clean - level) / slope
    assert noise.std() == pytest.approx(0.1, rel=0.06)
    assert abs(np.corrcoef(noise[1:], noise[:-1])[0, 1]) < 0.06
    assert whole[:2000].mean() == pytest.approx(0, abs=1e-5)
    assert whole[:2000].std() == pytest.approx(1, abs=1e-5)


def write_series(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"2016-07-01 00:00:00,{','.join(f'{v:.6f}' for v in row)}" for row in values]
    path.write_text("\n".join(["date," + ",".join(ett.CHANNELS), *rows]) + "\n")


@cache
def invented():
    return torch.randn(14500, 7, dtype=torch.float64, generator=seeded(3)).numpy().round(6) * 3 + np.arange(7)


@pytest.mark.parametrize("place", ["ETT/ETTh1.csv", "ETTh1.csv"])
def test_ett_has_the_usual_borders_and_statistics(tmp_path, place):
    write_series(tmp_path / place, invented())
    splits = ETTh1().load(tmp_path, seeded(0))
    exact = (invented() - invented()[:8640].mean(0)) / invented()[:8640].std(0)
    assert [len(split.x) for split in splits] == [8449, 2785, 2785]
    for split, first, last in zip(splits, (96, 8640, 11520), (8640, 11520, 14400), strict=True):
        np.testing.assert_allclose(split.x[0], exact[first - 96 : first], atol=1e-5)
        np.testing.assert_allclose(split.y[0].view(96, 7), exact[first : first + 96], atol=1e-5)
        np.testing.assert_allclose(split.y[-1].view(96, 7), exact[last - 96 : last], atol=1e-5)


def test_ett_statistics_see_the_train_months_only(tmp_path):
    write_series(tmp_path / "a/ETTh2.csv", invented())
    write_series(tmp_path / "b/ETTh2.csv", np.where(np.arange(14500)[:, None] < 8640, invented(), 1e3))
    one, other = (ETTh2().load(tmp_path / folder, seeded(0)) for folder in "ab")
    assert same(one.train, other.train)
    assert not same(one.test, other.test)


@pytest.mark.parametrize(("rows", "column"), [(14400, "XY"), (14399, "OT")])
def test_damaged_ett_is_refused(tmp_path, rows, column):
    write_series(tmp_path / "ETTh1.csv", invented()[:rows])
    text = (tmp_path / "ETTh1.csv").read_text()
    (tmp_path / "ETTh1.csv").write_text(text.replace("OT", column))
    with pytest.raises(ValueError, match=r"damaged data in .*ETTh1.csv.*--download"):
        ETTh1().load(tmp_path, seeded(0))


@pytest.mark.data
@pytest.mark.parametrize("task", [ETTh1(), ETTh2()])
def test_real_ett_agrees_with_numpy(task):
    splits, file = load(task), existing(ROOT, f"ETT/{type(task).__name__}.csv", f"{type(task).__name__}.csv")
    raw = np.loadtxt(file, delimiter=",", skiprows=1, usecols=range(1, 8))
    exact = (raw - raw[:8640].mean(0)) / raw[:8640].std(0)
    np.testing.assert_allclose(splits.train.x[0], exact[:96], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(splits.validation.y[0].view(96, 7), exact[8640:8736], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(splits.test.y[-1].view(96, 7), exact[14304:14400], rtol=1e-5, atol=1e-6)


# -- images -------------------------------------------------------------------------------------------------------------


def write_mnist(folder, count):
    """Files in the format of MNIST with `count` images, whose pixels all are 10 times their label."""
    folder.mkdir(parents=True)
    for part, first in (("train", 0), ("t10k", 1)):
        labels = (np.arange(count, dtype=np.uint8) + first) % 10
        header = [n.to_bytes(4, "big") for n in (2051, count, 28, 28)]
        (folder / f"{part}-images-idx3-ubyte").write_bytes(b"".join(header) + np.repeat(10 * labels, 784).tobytes())
        header = [n.to_bytes(4, "big") for n in (2049, count)]
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(b"".join(header) + labels.tobytes())


COLOUR_PATTERN = torch.arange(3)[:, None, None] * 100 + torch.arange(32)[:, None]  # (channels, height, 1)


def write_cifar(folder, count):
    """Files in the format of CIFAR-10 with `count` images each, whose pixels are label + row + 100 · channel."""
    folder.mkdir(parents=True)
    labels = np.arange(count, dtype=np.uint8) % 10
    pixels = labels[:, None, None, None] + COLOUR_PATTERN.expand(3, 32, 32).numpy()
    data = pixels.astype(np.uint8).reshape(count, -1)
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        (folder / name).write_bytes(pickle.dumps({"data": data, "labels": labels.tolist()}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))


@pytest.mark.parametrize(("task", "mean", "std"), [(MNIST(), 0.1307, 0.3081), (FashionMNIST(), 0.2860, 0.3530)])
def test_grey_images_are_read_and_standardised(tmp_path, monkeypatch, task, mean, std):
    write_mnist(tmp_path / type(task).__name__ / "raw", 100)
    monkeypatch.setattr(images, "VALIDATION", 30)
    splits = task.load(tmp_path, seeded(0))
    assert [len(split.x) for split in splits] == [70, 30, 100]
    for x, y in splits:
        expected = (10 * y / 255 - mean) / std
        torch.testing.assert_close(x, expected.view(-1, 1, 1, 1).expand(-1, 1, 28, 28))
    assert torch.bincount(splits.validation.y).tolist() == [3] * 10
    assert splits.test.y[:3].tolist() == [1, 2, 3]


def test_colour_images_are_read_and_standardised(tmp_path, monkeypatch):
    from torchvision import datasets

    write_cifar(tmp_path / "cifar-10-batches-py", 20)
    with pytest.raises(ValueError, match=r"damaged data: torchvision cannot read .*cifar-10-batches-py"):
        CIFAR10().load(tmp_path, seeded(0))
    monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(datasets.CIFAR10, "_load_meta", lambda self: None)
    monkeypatch.setattr(images, "VALIDATION", 40)
    splits = CIFAR10().load(tmp_path, seeded(0))
    assert [len(split.x) for split in splits] == [60, 40, 20]
    mean = torch.tensor([0.4914, 0.4822, 0.4465])[:, None, None]
    std = torch.tensor([0.2470, 0.2435, 0.2616])[:, None, None]
    for x, y in splits:
        expected = ((y[:, None, None, None] + COLOUR_PATTERN) / 255 - mean) / std
        torch.testing.assert_close(x, expected.expand(-1, 3, 32, 32), atol=1e-6, rtol=1e-6)


@pytest.mark.data
def test_real_mnist_is_standardised_and_divided_by_class():
    splits = load(MNIST())
    assert [len(split.x) for split in splits] == [55000, 5000, 10000]
    whole = torch.cat([splits.train.x, splits.validation.x])
    assert float(whole.mean()) == pytest.approx(0, abs=1e-3)
    assert float(whole.std()) == pytest.approx(1, abs=1e-3)
    official = torch.tensor([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949])
    held_out = torch.bincount(splits.validation.y)
    assert torch.equal(torch.bincount(splits.train.y) + held_out, official)
    assert (held_out - official / 12).abs().max() < 1
    assert splits.test.y[:5].tolist() == [7, 2, 1, 0, 4]


# -- missing data and downloads -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("root", [None, "empty"])
@pytest.mark.parametrize("task", [pytest.param(*case.values, id=case.id) for case in DOWNLOADS])
def test_missing_data_is_named_with_both_ways_to_get_it(tmp_path, task, root):
    root = root and tmp_path / root
    with pytest.raises(FileNotFoundError, match=r"missing data file: .*--data DIR .*FOSBENCH_DATA.* --download$") as missing:
        task.load(root, seeded(0))
    assert ("no data folder given" if root is None else f"{root}{os.sep}") in str(missing.value)


@pytest.mark.parametrize("task", [MNIST(), FashionMNIST(), CIFAR10()])
def test_torchvision_fetches_its_own_data(tmp_path, monkeypatch, task):
    from torchvision import datasets

    calls = []
    monkeypatch.setattr(datasets, type(task).__name__, lambda *args, **options: calls.append((args, options)))
    task.download(tmp_path)
    assert calls == [((str(tmp_path),), {"download": True})]


def test_ett_is_fetched_once(tmp_path, monkeypatch):
    write_series(tmp_path / "upstream.csv", invented())
    asked = []
    monkeypatch.setattr(ett, "fetch", lambda url: asked.append(url) or (tmp_path / "upstream.csv").read_bytes())
    for _ in range(2):
        ETTh2().download(tmp_path / "data")
    assert asked == ["https://raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small/ETTh2.csv"]
    assert os.listdir(tmp_path / "data/ETT") == ["ETTh2.csv"]
    assert len(ETTh2().load(tmp_path / "data", seeded(0)).test.x) == 2785


def test_a_wrong_answer_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(ett, "fetch", lambda url: b"<html>not here</html>")
    with pytest.raises(ValueError, match="did not answer with the expected table"):
        ETTh1().download(tmp_path)
    assert not list(tmp_path.rglob("*"))


def test_fixed_generators_differ_by_name():
    one, other = (torch.rand(4, generator=fixed_generator(name)) for name in ("peaks", "ellipses"))
    assert not torch.equal(one, other)
