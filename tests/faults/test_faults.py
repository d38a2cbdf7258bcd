"""Each job of the campaign leaves the old or the new, whatever fails; `make test-faults` runs the long form."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from faults.campaign import FAULT, failing_calls, power_cuts, sum_of
from faults.jobs import ENTRY, JOBS, make_record
from faults.kills import content, difference
from latentsync.files import set_durable
from latentsync.lab.records.store import RecordStore

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", JOBS)
def test_a_job_survives_one_failing_call_and_a_power_cut(name, tmp_path):
    for exchanges, folder in systems(tmp_path):
        assert failing_calls(name, folder, False, exchanges, ("ENOSPC",), is_short=True).bad == []
        assert power_cuts(name, folder, 1, exchanges).bad == []


@pytest.mark.parametrize("name", ["a JSON file", "a new record", "exported weights"])
def test_without_syncs_the_instrument_finds_damage(name, tmp_path):
    set_durable(False)
    try:
        assert power_cuts(name, tmp_path, deviations=1).counts["half"] > 0
    finally:
        set_durable(True)


def test_a_copy_of_a_runs_folder_that_is_written_opens(tmp_path, capsys):
    """As `cp -r` takes it: what loses its name meanwhile is left out."""
    runs, names = tmp_path / "runs", [f"record{number:02}" for number in range(24)]

    def work():
        for name in names:
            make_record(name)(runs)
            RecordStore(runs).merge_measured(RecordStore(runs).find(name), {"measure": ENTRY}, {})

    counts = []
    with ThreadPoolExecutor(1) as pool:
        writer, is_last = pool.submit(work), False
        while not is_last:
            is_last = writer.done()
            copy = tmp_path / f"copy{len(counts)}"
            with suppress(shutil.Error, FileNotFoundError):
                shutil.copytree(runs, copy)
            found = RecordStore(copy).all()
            assert [record.fault(is_deep=True) for record in found] == [None] * len(found)
            assert all(record.metrics in ({}, {"measure": ENTRY}) for record in found)
            counts.append(len(found))
        writer.result()
    assert capsys.readouterr().err == ""
    assert counts == sorted(counts) and counts[-1] == len(names) and len(set(counts)) > 1


def test_the_comparison_after_a_kill_counts_files_and_compares_what_lasts(tmp_path):
    def written(**texts):
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        for name, text in texts.items():
            (folder / f"{name}.json").write_text(text)
        return content(folder)

    whole = written(a='{"x": 1, "seconds": 2}', b="{}")
    assert difference(written(b="{}", a='{"seconds": 3, "x": 1}'), whole) is None
    assert difference(written(b="{}"), whole) == "lost (/a.json)"
    assert difference(written(a='{"x": 1}', b="{}", c="{}"), whole) == "doubled (/c.json)"
    assert difference(written(a='{"x": 2}', b="{}"), whole) == "half (/a.json)"


@pytest.mark.faults
@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("name", JOBS)
def test_every_failing_call(name, for_good, tmp_path, record_property):
    rows = [failing_calls(name, folder, for_good, exchanges) for exchanges, folder in systems(tmp_path)]
    note(rows, record_property)


@pytest.mark.faults
@pytest.mark.parametrize("name", JOBS)
def test_every_power_cut(name, tmp_path, record_property):
    note([power_cuts(name, folder, 3, exchanges) for exchanges, folder in systems(tmp_path)], record_property)


def systems(root):
    """With and without an exchange of names, each with a folder of its own."""
    for exchanges in (True, False):
        folder = root / f"{exchanges}"
        folder.mkdir()
        yield exchanges, folder


def note(rows, record_property):
    """Adds the sum of rows to the table that conftest prints, and refuses anything that did not survive."""
    row = sum_of(rows)
    record_property(FAULT, [row.fault, dict(row.counts)])
    assert row.bad == []
