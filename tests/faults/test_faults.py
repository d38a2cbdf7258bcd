"""Each job of the campaign leaves the old or the new, whatever fails; `make test-faults` runs the long form."""

import pytest

from faults.campaign import failing_calls, power_cuts, sum_of, table
from faults.jobs import JOBS
from latentsync.files import set_durable

ROWS = []  # of the long form, printed at its end


@pytest.fixture(scope="module", autouse=True)
def _printed():
    yield
    if ROWS:
        print(f"\n\n{table(ROWS)}")


@pytest.mark.parametrize("name", JOBS)
def test_a_job_survives_one_failing_call_and_a_power_cut(name, tmp_path):
    for exchanges, folder in systems(tmp_path):
        assert failing_calls(name, folder, False, exchanges, ("ENOSPC",)).bad == []
        assert power_cuts(name, folder, 1, exchanges).bad == []


@pytest.mark.parametrize("name", ["a JSON file", "a new record", "exported weights"])
def test_without_syncs_the_instrument_finds_damage(name, tmp_path):
    set_durable(False)
    try:
        assert power_cuts(name, tmp_path, deviations=1).counts["half"] > 0
    finally:
        set_durable(True)


@pytest.mark.faults
@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("name", JOBS)
def test_every_failing_call(name, for_good, tmp_path):
    noted(failing_calls(name, folder, for_good, exchanges) for exchanges, folder in systems(tmp_path))


@pytest.mark.faults
@pytest.mark.parametrize("name", JOBS)
def test_every_power_cut(name, tmp_path):
    noted(power_cuts(name, folder, 3, exchanges) for exchanges, folder in systems(tmp_path))


def systems(root):
    """With and without an exchange of names, each with a folder of its own."""
    for exchanges in (True, False):
        folder = root / f"{exchanges}"
        folder.mkdir()
        yield exchanges, folder


def noted(rows):
    """Adds the sum of rows to the table, and refuses anything that did not survive."""
    row = sum_of(list(rows))
    ROWS.append(row)
    assert row.bad == []
