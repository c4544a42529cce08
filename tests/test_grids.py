"""Grids, cells, and what the command line changes about them."""

import re
import subprocess
import sys
from collections import defaultdict
from functools import reduce
from pathlib import Path

import pytest

from baselines.standard.sgd import Sgd
from suite import expansion, grids, selection
from suite import fractional_arms as arms
from suite.catalog import Catalog
from suite.cell import Cell
from suite.trial import label_of, name_of
from suite.tuning import dimensions

ROOT = Path(__file__).parent.parent
ORDERS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
FAMILIES = ("fractional", "forward", "stable", "integrators", "kinks")
CONTROLS = {"stable": "resnet", "kinks": "kink_mlp"}


@pytest.fixture(scope="module")
def catalog():
    return Catalog()


def cell(catalog, task="wine", optimizer="sgd", **fields):
    task = catalog.parse("task", task)
    network = catalog.parse("network", fields.pop("network", task.reference_network))
    return Cell(task=task, network=network, optimizer=catalog.parse("optimizer", optimizer), **fields)


# -- cells ------------------------------------------------------------------------------------------------------------


def test_a_cell_without_tuning_is_its_seeds(catalog):
    trials = list(cell(catalog, seeds=3).trials())
    assert [t.seed for t in trials] == [0, 1, 2]
    assert {(t.stage, t.tune, t.labels, t.budget) for t in trials} == {("eval", 0, ("", ""), trials[0].task.budget)}


def test_a_tuned_cell_keeps_its_labels(catalog):
    tuned = cell(catalog, tune=5, seeds=2, budget=7.0)
    study = list(tuned.tuning_trials())
    evaluation = list(tuned.evaluation_trials(study[3]))
    assert len({t.key for t in study}) == 5
    assert study[0].optimizer == tuned.optimizer
    assert {(t.stage, t.seed, t.tune, t.labels, t.budget) for t in study} == {("tune", 0, 0, tuned.labels, 7.0)}
    assert {t.tune for t in evaluation} == {5}
    assert {t.key for t in cell(catalog, tune=3, budget=7.0).tuning_trials()} < {t.key for t in study}
    assert {(t.stage, t.optimizer, t.labels) for t in evaluation} == {("eval", study[3].optimizer, tuned.labels)}
    assert len({t.stream("method") for t in study}) == 1  # points differ in nothing but their hyperparameters


def test_a_class_is_no_instance(catalog):
    with pytest.raises(ValueError, match=r"Cell takes instances: write Sgd\(\)"):
        Cell(task=catalog.parse("task", "wine"), network=catalog.parse("network", "mlp"), optimizer=Sgd)


def test_refusals_name_the_reason(catalog):
    assert cell(catalog).refusal() == ""
    assert cell(catalog, optimizer="fomoh", clip=1.0).refusal() == (
        "clipping acts on the gradient, which fomoh does not ask for"
    )
    fractional = cell(catalog, optimizer="fomoh", network="fractional_mlp(alpha=0.9)").refusal()
    assert "fomoh needs curvature" in fractional
    assert cell(catalog, network="convnet").refusal() != ""


# -- --only, --seeds, --budget, axes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ("optimizer=sgd", {("wine", "sgd"), ("digits", "sgd")}),
        ("optimizer=sgd,task=wine", {("wine", "sgd")}),
        ("optimizer=sgd,optimizer=adam", {("wine", "sgd"), ("digits", "sgd"), ("wine", "adam"), ("digits", "adam")}),
        ("optimizer=a*,task=d*", {("digits", "adam"), ("digits", "adamw")}),
        ("network=mlp(width=32*", {("wine", "sgd"), ("wine", "adam"), ("wine", "adamw")}),
        ("", {(t, o) for t in ("wine", "digits") for o in ("sgd", "adam", "adamw")}),
    ],
)
def test_only(catalog, only, expected):
    cells = [cell(catalog, task, optimizer) for task in ("wine", "digits") for optimizer in ("sgd", "adam", "adamw")]
    kept = selection.select(cells, only)
    assert {(name_of(c.task), name_of(c.optimizer)) for c in kept} == expected


def test_only_knows_what_is_fixed_at_its_default(catalog):
    cells = [cell(catalog, optimizer=text, tune=3) for text in ("gl_memory", "gl_memory(alpha=0.9)", "gl_memory(alpha=0.8)")]
    assert selection.select(cells, "optimizer=gl_memory(alpha=0.9)") == [cells[1]]
    assert selection.replace_axes(cells[:1], {"optimizer": ("gl_memory(alpha=0.9)",)}, catalog) == [cells[1]]


@pytest.mark.parametrize(
    ("only", "words"),
    [
        ("optimiser=sgd", "--only knows no 'optimiser'; did you mean 'optimizer'"),
        ("sgd", "--only knows no 'sgd'; expected task, network, optimizer"),
        ("task=", "--only task has no pattern"),
        ("task=wien", "selects nothing of this grid: no task of it is called that"),
        ("task=digits,optimizer=adam", "each part matches something, but no cell matches all"),
    ],
)
def test_only_that_selects_nothing_is_said(catalog, only, words):
    cells = [cell(catalog, "wine", "adam"), cell(catalog, "digits", "sgd")]
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        selection.select(cells, only)


@pytest.mark.parametrize(("text", "expected"), [("0.1x", 0.1), ("2X", 2.0), ("500", None), (None, 1.0)])
def test_budget(catalog, text, expected):
    (changed,) = selection.with_budget([cell(catalog)], text)
    trial = next(changed.trials())
    assert trial.budget == (500.0 if expected is None else pytest.approx(expected * trial.task.budget))


@pytest.mark.parametrize("text", ["0", "-1x", "x", "ten", "inf", "nan"])
def test_bad_budget(catalog, text):
    with pytest.raises(ValueError, match="--budget must be a factor"):
        selection.with_budget([cell(catalog)], text)


def test_seeds(catalog):
    (changed,) = selection.with_seeds([cell(catalog, seeds=9)], 2)
    assert changed.seeds == 2
    trials = list(cell(catalog, seeds=4).trials())
    assert selection.with_seeds(trials, 3) == trials[:3]
    with pytest.raises(ValueError, match="--seeds must be at least 1: 0"):
        selection.with_seeds([changed], 0)


def test_a_replaced_task_brings_its_reference_network(catalog):
    cells = [cell(catalog, optimizer="sgd"), cell(catalog, optimizer="adam", network="mlp(width=7)")]
    axes = {"task": ("digits", "diabetes"), "network": (), "optimizer": ("lion", "muon")}
    changed = selection.replace_axes(cells, axes, catalog)
    assert len(changed) == 8
    assert {label_of(c.network) for c in changed if name_of(c.task) == "digits"} == {
        label_of(catalog.parse("network", catalog.parse("task", "digits").reference_network)), "mlp(width=7)",
    }  # fmt: skip
    assert {name_of(c.optimizer) for c in changed} == {"lion", "muon"}


def test_the_same_cell_is_kept_once(catalog):
    cells = [cell(catalog, optimizer="sgd"), cell(catalog, optimizer="adam")]
    assert len(selection.replace_axes(cells, {"optimizer": ("lion",)}, catalog)) == 1


def test_what_cannot_work_is_dropped_only_beside_what_can(catalog):
    fits, misfit = cell(catalog), cell(catalog, network="convnet")
    alone = cell(catalog, optimizer="adam", network="convnet")
    assert selection.without_misfits([misfit, fits, alone]) == [fits, alone]


# -- the grids --------------------------------------------------------------------------------------------------------------


def test_names_and_summaries_do_not_import_torch():
    code = "import sys; from suite.expansion import find, names; names(); find('full'); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_smoke_covers_everything_on_embedded_data(catalog):
    cells = expansion.expand("smoke", catalog)
    for kind in ("optimizer", "network"):
        assert {entry.name for entry in catalog.entries(kind)} <= {name_of(getattr(c, kind)) for c in cells}
    assert sum(c.seeds for c in cells) >= 40
    assert not any(c.task.needs_data for c in cells)


@pytest.mark.parametrize("gone", ["sgd", "adam", "mlp", "kink_mlp"])
def test_a_new_file_moves_no_other_cell_of_smoke(catalog, monkeypatch, gone):
    defaults, cells = grids.defaults, expansion.expand("smoke", catalog)
    monkeypatch.setattr(grids, "defaults", lambda *args: [one for one in defaults(*args) if name_of(one) != gone])
    fewer = set(expansion.expand("smoke", catalog))
    assert len(fewer) == len(cells) - 1
    assert fewer < set(cells)


def test_quick_is_complete(catalog):
    cells = expansion.expand("quick", catalog)
    tasks = {label_of(c.task) for c in cells}
    methods = {(_role(c, catalog), label_of(c.optimizer)) for c in cells}
    assert len(tasks) >= 8
    assert len([c for c in cells if not c.alias]) == len(tasks) * len(methods)
    assert {label_of(c.task) for c in cells if c.alias == "A/A"} == tasks
    assert {(c.seeds, c.tune) for c in cells} == {(6, 8)}
    assert [c.refusal() for c in cells if c.refusal()] == []


@pytest.mark.parametrize("family", FAMILIES)
def test_family_grids_hold_their_family_and_controls(catalog, family):
    cells = expansion.expand(family, catalog)
    for kind in ("optimizer", "network"):
        assert {e.name for e in catalog.entries(kind, family)} <= {name_of(getattr(c, kind)) for c in cells}
    plain = CONTROLS.get(family)  # the network beside which others stand, where it is not the reference network of the task
    is_control = (lambda c: label_of(c.network) == plain) if plain else (lambda c: _role(c, catalog) == "reference")
    controls = {(name_of(c.optimizer), label_of(c.task)) for c in cells if is_control(c)}
    tasks = {label_of(c.task) for c in cells if not c.alias}
    assert len({name_of(c.task) for c in cells} - {"few_samples"}) >= 8
    assert min(c.seeds for c in cells if c.alias not in ("memory", "forward_depth")) >= 8  # bytes do not vary
    assert {(name, task) for name in ("sgd", "adam") for task in tasks} <= controls


@pytest.mark.parametrize("family", ["stable", "integrators", "kinks"])
def test_small_grids_are_parts_of_the_whole_ones(catalog, family):
    small, whole = expansion.expand(f"{family}_small", catalog), expansion.expand(family, catalog)
    assert {(label_of(c.task), *c.labels, c.precision) for c in small if not c.alias} <= {
        (label_of(c.task), *c.labels, c.precision) for c in whole
    }
    assert not any(c.task.needs_data for c in small)
    assert {c.alias for c in small} <= {c.alias for c in whole}
    assert [c.refusal() for c in small if c.refusal()] == []


def test_the_fractional_grid_has_every_order_and_control(catalog):
    cells = expansion.expand("fractional", catalog)
    assert {"sine_mix", "etth1", "digits", "mnist"} <= {label_of(c.task) for c in cells}
    assert {(c.seeds, c.tune) for c in cells} == {(8, 6)}
    assert sum(c.seeds + c.tune for c in cells) <= 40_000
    assert len(set(cells)) == len(cells)
    assert {name_of(probe) for c in cells for probe in c.probes} == {"fractional_gradient"}
    digits = [c for c in cells if name_of(c.task) == "digits"]
    layers = [c for c in digits if name_of(c.network) == "fractional_mlp" and name_of(c.optimizer) in ("sgd", "adam")]
    layers = [c for c in layers if c.network.width == 64]
    wanted = {
        (m, a, x, o) for m in ("power", "own", "full", "a11") for a in ORDERS for x in (True, False)
        for o in ("sgd", "adam") if x or a <= 0.9
    } | {("power", 1.0, True, o) for o in ("sgd", "adam")}  # fmt: skip
    assert {(c.network.mode, c.network.alpha, c.network.frac_input, name_of(c.optimizer)) for c in layers} == wanted
    assert [c.refusal() for c in cells if c.refusal()] == []


@pytest.mark.parametrize("base", ["", "base=adam,"])
def test_the_fractional_optimizers_go_through_all_orders_beside_their_controls(catalog, base):
    cells = expansion.expand("fractional", catalog)
    swept, all_tasks = ({c.labels[1] for c in cells if name_of(c.task) == task} for task in ("digits", "wine"))
    for order in ORDERS:
        like = f"gl_memory(base=sgd(lr=1.0),alpha={order},convention='fcgd')"
        assert {f"cfgd({base}alpha={order})", f"weight_power({base}nu={order})", f"scaled({base}like={like})"} <= swept
    controls = {
        f"gl_memory({base}alpha=0.0,convention='gradients')", f"gl_memory({base}alpha=1.0)", f"tempered({base}alpha=0.0)",
        f"fractional_momentum({base}alpha=0.0,beta=0.0)", f"weight_power({base}nu=1.0)", f"time_fractional({base}alpha=1.0)",
        f"adagl({base}alpha=0.0)".replace("base=adam,", "") if base else "adagl(base=sgd,alpha=0.0)",
    }  # fmt: skip
    assert controls <= swept & all_tasks


@pytest.mark.parametrize("grid", ["fractional", "fractional_small"])
def test_fractional_grids_tune_nothing_but_the_learning_rate(catalog, grid):
    """Neither an order nor any other field of an arm, nested or not; so all orders have the same points."""
    studies = defaultdict(set)
    for c in expansion.expand(grid, catalog):
        axes = list(dimensions(c.optimizer, c.search))
        assert [path[-1] for path, _ in axes] == ["lr"]
        assert "like" not in axes[0][0]
        assert {label_of(trial.network) for trial in c.tuning_trials()} == {label_of(c.network)}
        rates = [reduce(getattr, axes[0][0], trial.optimizer) for trial in c.tuning_trials()]
        studies[arms.base_of(c.optimizer)].add(tuple(rates))
    assert {base: len(some) for base, some in studies.items()} == {"sgd": 1, "adam": 1}


@pytest.mark.parametrize("grid", ["fractional", "fractional_small"])
def test_no_swept_field_would_be_tuned_where_all_are(catalog, grid):
    """Arms at an order are fixed in it by how they are written, even where the order is the default."""
    axes = defaultdict(set)
    for c in {c.labels[1]: c for c in expansion.expand(grid, catalog)}.values():
        found = tuple(path for path, _ in dimensions(c.optimizer))
        swept = {"alpha", "nu", "N"} if "N=" in c.labels[1] else {"alpha", "nu"}
        assert not {path[-1] for path in found} & swept, c.labels
        axes[re.sub(r"(alpha|nu)=[0-9.]+", r"\1", c.labels[1])].add(found)
    assert {len(some) for some in axes.values()} == {1}


def test_the_small_fractional_grid_is_a_part_of_it(catalog):
    small, whole = expansion.expand("fractional_small", catalog), expansion.expand("fractional", catalog)
    assert {(c.task, *c.labels) for c in small} <= {(c.task, *c.labels) for c in whole}
    assert not any(c.task.needs_data for c in small)
    assert len({c.task for c in small}) >= 8
    assert {(c.seeds, c.tune, c.budget / c.task.budget) for c in small} == {(8, 6, 0.4)}


def test_the_small_fractional_grid_has_a_control_beside_every_arm(catalog):
    cells = expansion.expand("fractional_small", catalog)
    for task in {c.task for c in cells}:
        here = [c for c in cells if c.task == task]
        optimizers = [c.optimizer for c in here if hasattr(c.optimizer, "control")]
        assert {name_of(one) for one in optimizers} == {
            e.name for e in catalog.entries("optimizer", "fractional") if e.name not in ("scaled", *arms.WHOLE)
        }
        assert {one.control for one in optimizers} <= set(optimizers)
        assert {arms.base_of(one) for one in optimizers} == {"sgd", "adam"}
        for network in {c.network for c in here}:
            assert {"sgd", "adam"} <= {name_of(c.optimizer) for c in here if c.network == network}


@pytest.mark.parametrize(
    ("optimizer", "why"),
    [
        ("newton", "newton is for at most 256 parameters"),
        ("fomoh_kd(K=5000)", "K must be at most the number of parameters, 1603"),
    ],
)
def test_a_method_refuses_a_network_before_anything_runs(catalog, optimizer, why):
    refused = cell(catalog, task="wine", network="mlp(width=32)", optimizer=optimizer)
    assert why in refused.refusal()
    assert not cell(catalog, task="wine", network="mlp(depth=0)", optimizer="newton").refusal()


def test_the_forward_grid_has_the_papers_experiments(catalog):
    cells = expansion.expand("forward", catalog)
    on = {task: [c for c in cells if name_of(c.task) == task] for task in ("rosenbrock", "mnist")}
    assert {c.optimizer.K for c in on["rosenbrock"] if name_of(c.optimizer) == "fomoh_kd"} == set(range(2, 11))
    assert any(name_of(c.optimizer) == "newton" for c in on["rosenbrock"])
    sizes = {sum(leaf.numel() for leaf in c.network.build((1, 28, 28), 10).parameters()) for c in on["mnist"]}
    assert sizes == {7850, 431080}
    assert {(c.seeds, c.tune) for c in cells if not c.alias} == {(8, 6)}
    assert len(set(cells)) == len(cells)


def test_the_small_forward_grid_is_a_part_of_it(catalog):
    small, whole = expansion.expand("forward_small", catalog), expansion.expand("forward", catalog)
    assert {(c.task, *c.labels) for c in small} <= {(c.task, *c.labels) for c in whole}
    assert not any(c.task.needs_data or c.refusal() for c in small)
    assert len({c.task for c in small}) >= 8
    assert {(c.seeds, c.tune) for c in small if not c.alias} == {(8, 6)}


def test_full_crosses_everything(catalog):
    cells = expansion.expand("full", catalog)
    tasks = [entry.name for entry in catalog.entries("task") if all(entry.fields.values())]  # not those made of others
    on_reference = {(name_of(c.task), name_of(c.optimizer)) for c in cells if _role(c, catalog) == "reference"}
    assert {(t, e.name) for t in tasks for e in catalog.entries("optimizer")} <= on_reference
    trained = {(name_of(c.task), name_of(c.network), name_of(c.optimizer)) for c in cells}
    networks = [entry.name for entry in catalog.entries("network")]
    assert {(t, n, o) for t in tasks for n in networks for o in ("sgd", "adamw")} <= trained
    assert {(c.seeds, c.tune) for c in cells} == {(10, 20)}
    assert len(set(cells)) == len(cells)


def test_unknown_grid_suggests():
    with pytest.raises(ValueError, match=r"unknown grid 'smok'; did you mean 'smoke'\?"):
        expansion.find("smok")
    with pytest.raises(ValueError, match=r"unknown grid 'xyz'; expected FILE\.py or one of"):
        expansion.find("xyz")


def test_own_grid(tmp_path, catalog):
    file = tmp_path / "mine.py"
    file.write_text(
        "from suite.cell import Cell\n"
        "def grid(catalog):\n"
        "    task = catalog.parse('task', 'wine')\n"
        "    yield from Cell(task=task, network=catalog.parse('network', 'mlp'),\n"
        "                    optimizer=catalog.parse('optimizer', 'sgd'), seeds=2).trials()\n"
        "def small(catalog):\n"
        "    return list(grid(catalog))[:1]\n"
    )
    assert [len(expansion.expand(f"{file}{end}", catalog)) for end in ("", ":grid", ":small")] == [2, 2, 1]
    with pytest.raises(ValueError, match="has no function 'large'; define `def large"):
        expansion.find(f"{file}:large")
    with pytest.raises(FileNotFoundError, match="no such grid file: "):
        expansion.find(str(tmp_path / "other.py"))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def grid(catalog:\n", "line 1: SyntaxError"),
        ("x = 1\nimport nowhere_at_all\n", "line 2: ModuleNotFoundError"),
        ("def grid(catalog):\n    yield 1\n", r"yields 1; define `def grid\(catalog\)` that yields Cell or Trial"),
        ("def grid(catalog):\n    pass\n", r"returns None; define `def grid\(catalog\)` that yields Cell or Trial"),
        ("def grid():\n    yield 1\n", "does not take the catalog alone; define `def grid"),
        ("grid = 1\n", "has no function 'grid'; define `def grid"),
        (
            "from suite.cell import Cell\ndef grid(catalog):\n    yield Cell(task='wine', network=1, optimizer=2)\n",
            r"line 3: ValueError: Cell takes instances: write catalog\.parse\('task', 'wine'\)",
        ),
        ("def grid(catalog):\n\n    yield 1 / 0\n", "line 3: ZeroDivisionError: division by zero"),
        ("def grid(catalog):\n    yield catalog.parse('task', 'wien')\n", "line 2: ValueError: unknown task 'wien'"),
    ],
)
def test_a_broken_grid_file_is_named_with_its_line(tmp_path, catalog, source, words):
    file = tmp_path / "broken.py"
    file.write_text(source)
    with pytest.raises(ValueError, match=words) as caught:
        expansion.expand(str(file), catalog)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_competitor_that_workers_cannot_find_is_refused(tmp_path, catalog):
    file = tmp_path / "hidden.py"
    file.write_text(
        "from suite.cell import Cell\n"
        "from baselines.standard.sgd import Sgd\n"
        "class Mine(Sgd):\n    pass\n"
        "def grid(catalog):\n"
        "    task = catalog.parse('task', 'wine')\n"
        "    yield Cell(task=task, network=catalog.parse('network', 'mlp'), optimizer=Mine())\n"
    )
    with pytest.raises(ValueError, match="uses the optimizer Mine, whose file is not loaded; add --plugin FILE"):
        expansion.expand(str(file), catalog)


def _role(cell, catalog):
    """The network's label, or "reference" where it is the one that the task names."""
    reference = catalog.parse("network", cell.task.reference_network)
    return "reference" if cell.network == reference else label_of(cell.network)
