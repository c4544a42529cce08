"""Certificates take methods out of the ranking: which ones, and what the page says of it."""

import numpy as np
import pytest

from analysis.certificates import Failed, certificate_blocks, concerned
from analysis.finding import finding
from analysis.query import connect
from analysis.results import results
from suite.store import Store
from suite.trial import Row
from tests.synthetic import seeds

MEMBERS = {
    "fomoh": {("forward", "fomoh"), ("standard", "mlp")},
    "fomoh_kd": {("forward", "fomoh_kd"), ("standard", "mlp")},
    "sgd on hamiltonian": {("standard", "sgd"), ("stable", "hamiltonian")},
    "sgd": {("standard", "sgd"), ("standard", "mlp")},
}  # fmt: skip


def check(quantity, passed, family="forward", name="limits"):
    return Row("checks", {
        "family": family, "check": name, "quantity": quantity, "seed": 0, "value": 2.0, "low": 0.0, "high": 1.0,
        "passed": passed,
    })  # fmt: skip


@pytest.fixture
def read(tmp_path):
    def opened(*checks):
        rows = [row for t in range(8) for k, name in enumerate(("fomoh", "fomoh_kd", "sgd"))
                for row in seeds(np.linspace(0.9, 1.0, 6) - 0.1 * k, name, f"task{t}",
                                 optimizer_family="standard" if name == "sgd" else "forward")]  # fmt: skip
        store = Store(tmp_path / "run")
        store.commit([*rows, *checks])
        return results(connect(store.files()))

    return opened


@pytest.mark.parametrize(("family", "name", "quantity", "who"), [
    ("forward", "limits", "fomoh_kd_newton", ["fomoh_kd"]), ("forward", "fomoh_limits", "slope", ["fomoh"]),
    ("forward", "limits", "jvp", ["fomoh", "fomoh_kd"]), ("stable", "hamiltonian_volume", "growth", ["sgd on hamiltonian"]),
    ("stable", "euler_growth", "growth", ["sgd on hamiltonian"]), ("kinks", "zeros", "rate", []),
    ("forward", "limits", "fomohs", ["fomoh", "fomoh_kd"]),
])  # fmt: skip
def test_a_certificate_concerns_those_it_names_or_the_family(family, name, quantity, who):
    assert concerned(Failed(family, name, quantity, 2.0, 0.0, 1.0), MEMBERS) == who


def test_a_method_that_fails_its_certificate_is_not_ranked(read):
    run = read(check("fomoh_newton", False), check("fomoh_kd_newton", True))
    assert run.board.table["method"].tolist() == ["fomoh_kd on mlp", "sgd on mlp"]
    ranks = run.cells[run.cells["task"] == "task0"].set_index("method")["rank"]
    assert (ranks["fomoh_kd on mlp"], ranks["sgd on mlp"], np.isnan(ranks["fomoh on mlp"])) == (1, 2, True)
    assert finding(run).endswith("`fomoh on mlp` fails a limit certificate and cannot be ranked.")
    blocks = certificate_blocks(run.certificates)
    assert blocks[0].startswith("**Limit certificates:** 1 certificate of 2 does not hold")
    assert "Not ranked for it: `fomoh on mlp`." in blocks[0]
    assert "| forward: limits | fomoh_newton |" in blocks[1]


def test_certificates_that_hold_are_counted_and_missing_ones_asked_for(read):
    assert certificate_blocks(read(check("jvp", True)).certificates)[0].startswith("**Limit certificates:** all 1 hold.")


def test_without_verify_the_page_says_so(read):
    (block,) = certificate_blocks(read().certificates)
    assert "`verify --out` has not been run for this run" in block
