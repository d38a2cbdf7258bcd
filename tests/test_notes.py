"""Notes and plans of sweeps: failures that stick, what two writers keep, and labels; outputs of folder jobs."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from latentsync.errors import MediaError, MemoryShortageError
from latentsync.files import read_json, write_json
from latentsync.lab.cells.cell import attempt
from latentsync.lab.cells.outcome import Outcome
from latentsync.lab.cells.passing import may_pass
from latentsync.lab.jobs.folder import Outputs
from latentsync.lab.jobs.proofs import faults_in
from latentsync.lab.options.compose import configured
from latentsync.lab.options.pairs import Pair
from latentsync.lab.options.schema import read_config
from latentsync.lab.records.content import labels_of
from latentsync.lab.records.store import SET_ASIDE_DIR
from latentsync.lab.records.sweeps import note_fault, plan_fault, sweep_cells
from latentsync.lab.sweeps.notes import earlier_failures, note_of, note_path, write_note
from latentsync.lab.sweeps.request import PlannedCell
from latentsync.proof import proof_of

CELL = ["sampler.seed=1"]
DONE = Outcome("a", "female", 1.8, "done", "12ab", labels={"pair": {"name": "a", "gender": "female"}})
BROKEN = replace(DONE, status="failed", stage="denoise", reason="broken")
UNUSUAL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EACCES, errno.EROFS, errno.ENOENT)


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    try:
        raise error from cause
    except type(error) as caught:
        return caught


@pytest.mark.parametrize(
    "error",
    [
        *(OSError(number, os.strerror(number)) for number in UNUSUAL),
        MemoryError(),
        MemoryShortageError("too large"),
        type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=lambda error: repr(error)[:30],
)
def test_failures_of_the_machine_may_pass_however_they_are_worded(error):
    assert may_pass(error) and may_pass(raised(MediaError("it cannot be written"), error))


def test_failures_of_the_input_stay_unless_it_cannot_be_opened(tmp_path):
    clip = tmp_path / "a.mp4"
    clip.write_bytes(b"no video")
    for error in (MediaError("no video"), ValueError("odd"), OSError(errno.EINVAL, "Invalid argument")):
        assert not may_pass(error, [clip]) and may_pass(error, [tmp_path / "gone.mp4"])


def test_an_attempt_notes_whether_its_failure_may_pass(tmp_path):
    config, clip = read_config(configured(["tracker=none"])), tmp_path / "a.mp4"
    clip.write_bytes(b"no video")
    pair = Pair(clip, clip, "male", group="bob", split="test")

    def fail(error: Exception) -> Outcome:
        def make(bar):
            raise error

        return attempt(pair, config, make)

    full, damaged = fail(OSError(errno.ENOSPC, "No space left on device", "x.mp4")), fail(MediaError("no video"))
    assert (full.status, full.passes, full.trace, damaged.passes) == ("failed", True, None, False)
    assert "x.mp4 cannot be read or written (No space left" in full.reason
    assert full.labels == labels_of(pair, config) and full.labels["pair"]["group"] == "bob"
    assert full.labels["pair"]["clip"] == {"name": "a.mp4"} and full.labels["preset"]["guidance_from"] == "preset"


def test_a_failure_that_may_pass_is_tried_again_by_the_same_command(tmp_path):
    outcomes = [BROKEN, replace(BROKEN, pair="b", record="34cd", passes=True), replace(BROKEN, pair="c", record=None)]
    write_note(note_path(tmp_path, CELL), note_of(CELL, outcomes, "1"))
    assert [failure.pair for failure in earlier_failures(tmp_path)] == ["a"]


def test_of_two_writers_of_a_note_the_made_record_counts(tmp_path):
    path = note_path(tmp_path, CELL)
    write_note(path, note_of(CELL, [DONE, replace(DONE, pair="b")], "1"))
    write_note(path, note_of(CELL, [BROKEN, replace(BROKEN, pair="b", record="other")], "2"))
    (cell,) = sweep_cells(tmp_path)
    assert [outcome["status"] for outcome in cell["outcomes"]] == ["done", "failed"] and cell["run"] == "2"
    assert os.listdir(path.parent) == [path.name]


def test_a_damaged_note_is_set_aside_and_written_anew(tmp_path, capsys):
    sweep_dir = tmp_path / "sweeps" / "s"
    path = note_path(sweep_dir, CELL)
    for damage in ("", '{"outcomes": [3], "overrides": []}'):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(damage)
        assert sweep_cells(sweep_dir) == []
        assert str(path) in capsys.readouterr().err
        write_note(path, note_of(CELL, [DONE], "1"))
        assert len(sweep_cells(sweep_dir)) == 1 and "set aside" in capsys.readouterr().out
    kept = sorted(path.read_text() for path in (tmp_path / SET_ASIDE_DIR).iterdir())
    assert kept == ["", '{"outcomes": [3], "overrides": []}']


def test_a_note_that_cannot_be_read_now_is_not_overwritten(tmp_path, monkeypatch):
    path = note_path(tmp_path, CELL)
    write_note(path, note_of(CELL, [DONE], "1"))
    before = path.read_text()

    def read_bytes(path: Path) -> bytes:
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    with pytest.raises(OSError, match="Input/output"):
        write_note(path, note_of(CELL, [BROKEN], "2"))
    assert path.read_text() == before


def test_a_note_agrees_with_a_plan_in_records_and_labels(tmp_path):
    cell = PlannedCell(CELL, {"a": "12ab"}, labels={"a": DONE.labels})
    write_note(note_path(tmp_path, CELL), note_of(CELL, [DONE], "1"))
    note = read_json(note_path(tmp_path, CELL))
    assert cell.is_noted(note) and not cell.is_noted(None) and not cell.is_noted({})
    assert not replace(cell, labels={"a": {"pair": {"name": "a", "gender": "male"}}}).is_noted(note)
    assert not replace(cell, records={"a": "34cd"}).is_noted(note)
    assert not replace(cell, records={"a": "12ab", "b": "34cd"}).is_noted(note)
    assert PlannedCell.read({**vars(cell), "of a later version": 1}) == cell


HOSTILE = ({"pair": {"clip": "x"}}, {"pair": 3}, {"options": {}}, {"pair": {"clip": {"name": "x", "path": "/etc"}}}, [])


@pytest.mark.parametrize("labels", HOSTILE, ids=str)
def test_labels_of_others_may_change_nothing_but_labels(labels):
    outcome = {"pair": "a", "status": "done", "record": "12ab", "labels": labels}
    assert note_fault({"overrides": [], "outcomes": [outcome]}) is not None
    assert plan_fault({"cells": [{"overrides": [], "records": {"a": "12ab"}, "labels": {"a": labels}}]}) is not None


def test_outputs_are_done_only_if_they_are_what_their_sidecar_proves(tmp_path):
    outputs = Outputs.of(Pair(Path("a.mp4"), Path("b.wav"), "male"), tmp_path)
    for path in (outputs.video, outputs.mask):
        path.write_bytes(os.urandom(1000))
    write_json(outputs.sidecar, {"id": "12ab"})
    assert outputs.are_done("12ab") and not outputs.are_done("34cd") and faults_in(tmp_path) is None
    write_json(outputs.sidecar, {"id": "12ab", "files": proof_of((outputs.video, outputs.mask))})
    assert outputs.are_done("12ab") and faults_in(tmp_path).text() == "1 outputs, 0 faults"
    whole = outputs.video.read_bytes()
    for damage in (b"", whole[:500], bytes(1000), None):
        outputs.video.unlink()
        if damage is not None:
            outputs.video.write_bytes(damage)
        assert not outputs.are_done("12ab")
        assert f"{outputs.sidecar.name}: {outputs.video.name}" in faults_in(tmp_path).text()
        outputs.video.write_bytes(whole)
    for damage in ("", "{}", "[]"):
        outputs.sidecar.write_text(damage)
        assert not outputs.are_done("12ab")
