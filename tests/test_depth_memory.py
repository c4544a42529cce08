"""The section of the report on memory over depth: its table, its sentences, and its absence."""

import pytest

from analysis.depth_memory import depth_memory
from analysis.query import connect
from suite.store import Store
from tests.synthetic import trial

RATIOS = {  # of the peak to that of backpropagation, by depth
    "fgd": {2: 1.5, 4: 0.9, 8: 1.1, 16: 0.75, 64: 0.25},
    "fomoh": {2: 2.0, 4: 2.0, 8: 1.5, 16: 1.25, 64: 1.0},
    "mezo": {2: 0.5, 4: 0.5, 8: 0.5, 16: 0.5, 64: 0.125},
}


def rows(ratios, **changes):
    for name, found in {"sgd": dict.fromkeys((2, 4, 8, 16, 64), 1.0), **ratios}.items():
        for depth, ratio in found.items():
            for seed, noise in enumerate((1.0, 1.0, 5.0)):  # the median leaves the third out
                yield trial(
                    f"{name}-{depth}-{seed}", optimizer=name, seed=seed, network_fields={"depth": depth},
                    **{"alias": "forward_depth", "peak_bytes": int(1e6 * depth * ratio * noise), **changes},
                )  # fmt: skip


def section(tmp_path, found):
    store = Store(tmp_path / "run")
    store.commit(list(found))
    with connect(store.files()) as connection:
        return depth_memory(connection)


def test_the_depth_at_which_a_method_begins_to_save_memory(tmp_path):
    text, table, sentences = section(tmp_path, rows(RATIOS))
    assert "`mlp` on digits" in text
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert cells[0] == ["depth", "sgd, MB", "fgd ×", "fomoh ×", "mezo ×"]
    assert cells[2:] == [
        [str(depth), str(depth), *(f"{RATIOS[name][depth]:g}" for name in RATIOS)] for depth in (2, 4, 8, 16, 64)
    ]
    assert sentences.splitlines() == [
        "- `fgd` takes less memory than `sgd` from depth 16 on, 0.25 of it at depth 64.",
        "- `fomoh` saves no memory up to depth 64, the largest tried, where it takes 1 times as much.",
        "- `mezo` takes less memory than `sgd` at every depth tried, 0.125 of it at depth 64.",
    ]


@pytest.mark.parametrize("changes", [{"alias": ""}, {"stage": "tune"}, {"peak_bytes": None}], ids=lambda c: next(iter(c)))
def test_rows_that_say_nothing_of_it_leave_the_section_out(tmp_path, changes):
    assert section(tmp_path, rows(RATIOS, **changes)) == []


def test_backpropagation_alone_is_compared_with_nothing(tmp_path):
    assert section(tmp_path, rows({})) == []


def test_a_depth_that_a_method_lacks_is_left_open(tmp_path):
    *_, table, sentences = section(tmp_path, rows({"fgd": {2: 1.5, 8: 0.5}}))
    assert [line.split("|")[3].strip() for line in table.splitlines()[2:]] == ["1.5", "–", "0.5", "–", "–"]
    assert sentences == "- `fgd` takes less memory than `sgd` from depth 8 on, 0.5 of it at depth 8."
