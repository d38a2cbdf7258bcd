"""Each job of the campaign leaves the old or the new, whatever fails; `make test-faults` runs the long form."""

import pytest

from faults.campaign import failing_calls, power_cuts, table
from faults.door import ERRORS
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
    for number, exchanges in enumerate((True, False)):
        (tmp_path / f"a{number}").mkdir()
        assert failing_calls(name, tmp_path / f"a{number}", False, exchanges, ("ENOSPC",)).bad == []
    (tmp_path / "b").mkdir()
    assert power_cuts(name, tmp_path / "b", deviations=1).bad == []


@pytest.mark.parametrize("name", ["a JSON file", "a new record", "exported weights"])
def test_without_syncs_the_instrument_finds_damage(name, tmp_path):
    set_durable(False)
    try:
        assert power_cuts(name, tmp_path, deviations=1).counts["half"] > 0
    finally:
        set_durable(True)


@pytest.mark.faults
@pytest.mark.parametrize("exchanges", [True, False], ids=["exchange", "no exchange"])
@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("name", JOBS)
def test_every_failing_call(name, for_good, exchanges, tmp_path):
    row = failing_calls(name, tmp_path, for_good, exchanges, tuple(ERRORS))
    ROWS.append(row)
    assert row.bad == []


@pytest.mark.faults
@pytest.mark.parametrize("exchanges", [True, False], ids=["exchange", "no exchange"])
@pytest.mark.parametrize("name", JOBS)
def test_every_power_cut(name, exchanges, tmp_path):
    row = power_cuts(name, tmp_path, 3, exchanges)
    ROWS.append(row)
    assert row.bad == []
