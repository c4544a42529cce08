"""What the README shows works as written."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.slow
def test_the_method_in_the_readme_is_listed_runs_and_meets_the_contract(tmp_path):
    plugin = tmp_path / "sign_descent.py"
    plugin.write_text(re.search(r"```python\n(.*?)```", README, re.DOTALL)[1])
    listed = command("list", "optimizers", "--plugin", plugin)
    assert "sign_descent" in listed
    arguments = (
        "--task",
        "wine",
        "--network",
        "mlp",
        "--optimizer",
        "sign_descent",
        "--seeds",
        "1",
        "--budget",
        "20",
        "--local",
    )
    command("run", "--grid", "smoke", "--plugin", plugin, *arguments, "--out", tmp_path / "run")
    answer = command("query", "SELECT optimizer, status FROM trials", "--out", tmp_path / "run", "--format", "csv")
    assert set(answer.split()[1:]) == {"sign_descent,completed"}
    tests = [sys.executable, "-m", "pytest", "-q", "tests/test_contracts.py", "--plugin", plugin, "-k", "sign_descent"]
    result = subprocess.run(tests, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    assert "passed" in result.stdout


@pytest.mark.slow
def test_a_file_dropped_into_a_family_folder_is_all_it_takes(tmp_path):
    for name in ("suite", "tasks", "baselines", "analysis", "tests", "pyproject.toml"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    dropped = tmp_path / "baselines" / "standard" / "sign_descent.py"
    dropped.write_text(re.search(r"```python\n(.*?)```", README, re.DOTALL)[1])
    listed = json.loads(command("list", "optimizers", "--format", "json", root=tmp_path))
    assert {"name": "sign_descent", "family": "standard"}.items() <= next(
        e for e in listed if e["name"] == "sign_descent"
    ).items()
    arguments = ("--only", "optimizer=sign_descent", "--seeds", "1", "--budget", "10", "--local", "--out", tmp_path / "run")
    command("run", "--grid", "smoke", *arguments, root=tmp_path)
    assert "completed" in command("status", "--out", tmp_path / "run", root=tmp_path)
    tests = [sys.executable, "-m", "pytest", "-q", "tests/test_contracts.py", "-k", "sign_descent"]
    result = subprocess.run(tests, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    assert "passed" in result.stdout


@pytest.mark.slow
def test_the_grid_in_the_readme_runs(tmp_path):
    path = tmp_path / "my_grid.py"
    path.write_text(next(code for code in SNIPPETS if "def grid(" in code))
    command("run", "--grid", path, "--local", "--out", tmp_path / "run")
    question = (
        "SELECT task, count(*), count(DISTINCT optimizer) FROM trials WHERE status = 'completed' GROUP BY 1 ORDER BY 1"
    )
    answer = command("query", question, "--out", tmp_path / "run", "--format", "csv")
    assert answer.splitlines()[1:] == ["diabetes,4,2", "wine,4,2"]


@pytest.mark.parametrize(
    ("marker", "bound"),
    [
        ("FLinear(", 20),  # about 80 at the start: 2·8 + 8² for a sum of eight squares
        ("TorchOptimizer(", 1.55),  # ln 5 ≈ 1.61 for five classes by chance
    ],
)
def test_what_the_readme_trains_in_plain_pytorch_learns(tmp_path, marker, bound):
    path = tmp_path / "train.py"
    path.write_text(next(code for code in SNIPPETS if marker in code))
    line = [sys.executable, "-W", "error", path]
    result = subprocess.run(line, cwd=tmp_path, env=environment(ROOT), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert float(result.stdout.removeprefix("loss ")) < bound


def test_every_file_that_the_readme_links_to_exists():
    missing = [target for target in re.findall(r"\]\(([^)#:]+)\)", README) if not (ROOT / target).exists()]
    assert missing == []


def environment(root):
    """The environment in which the packages under `root` come first."""
    return {**os.environ, "PYTHONPATH": str(root)}


def command(*words, root=ROOT):
    """Run a verb of the tree under `root` and return what it prints."""
    line = [sys.executable, "-W", "error", "-m", "suite", *map(str, words)]
    result = subprocess.run(line, cwd=root, env=environment(root), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout
