"""Options and fixtures that all tests share."""

import os
from pathlib import Path

import pytest


def pytest_addoption(parser):
    parser.addoption("--plugin", action="append", default=[], help="file of a competitor to put through the contract tests")


def data_root():
    """The folder of downloaded data sets, or None."""
    named = os.environ.get("FOSBENCH_DATA")
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(named) if named else beside if beside.is_dir() else None


@pytest.fixture(scope="session")
def root():
    """The data root, or None where there is none."""
    return data_root()
