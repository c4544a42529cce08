"""The tests of this folder take minutes: they run only where `-m` names their marker."""

import pytest

from tests.chaos.runs import undisturbed


def pytest_collection_modifyitems(config, items):
    """Leave the tests with the marker `chaos` out, also from `-m slow` or `-m "not gpu"`."""
    if "chaos" in (config.option.markexpr or ""):
        return
    out = [item for item in items if item.get_closest_marker("chaos")]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]


@pytest.fixture(scope="session")
def reference(tmp_path_factory):
    """The folder of a run of the small grid that nothing happened to."""
    return undisturbed(tmp_path_factory.mktemp("undisturbed") / "run")
