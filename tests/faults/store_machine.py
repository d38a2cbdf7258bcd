"""Two writers at one sweep, as a state machine: steps in any order, kills, damage, read errors, lost notes.

The writers are generators, so that they can be interleaved and ended between any two steps. Records are tiny. The
machine holds what was made and measured, and checks after every step that the store shows it.
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path
from unittest import mock

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from record_content import content

from latentsync.files import write_json
from latentsync.lab.cells.outcome import Outcome
from latentsync.lab.console import complaints
from latentsync.lab.records.store import METRICS_FILE, PROVEN, RECORD_FILE, RESULT_FILE, SET_ASIDE_DIR, RecordStore
from latentsync.lab.records.sweeps import PLAN_FILE, sweep_records
from latentsync.lab.sweeps.notes import note_of, note_path, write_note
from latentsync.lab.sweeps.request import PlannedCell
from latentsync.proof import proof_of

CELLS = ("c0", "c1", "c2")
WRITERS = (0, 1)
DAMAGES = ("", "{}", "[" * 10_000, "cut video", "no video")
Steps = Generator[None, None, None]


class KilledError(BaseException):
    """Ends a writer where it is."""


def nothing(*arguments: object, **options: object) -> None:
    """Stands for a call that a killed process does not make."""


class StoreMachine(RuleBasedStateMachine):
    """The model: which records were made, what was measured of them, and the files that people put beside them."""

    @initialize()
    def begin(self) -> None:
        self.runs = Path(tempfile.mkdtemp())
        self.store, self.sweep_dir = RecordStore(self.runs), self.runs / "sweeps" / "s"
        self.writers: dict[int, tuple[str, Steps]] = {}
        self.whole: set[str] = set()
        self.measured: dict[str, set[str]] = {}
        self.mine: set[str] = set()
        self.unreadable: set[str] = set()
        self.number = 0
        self.read_bytes = Path.read_bytes
        machine = self

        def read_bytes(path: Path) -> bytes:
            if path.name == RECORD_FILE and path.parent.name in machine.unreadable:
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
            return machine.read_bytes(path)

        Path.read_bytes = read_bytes

    def teardown(self) -> None:
        if hasattr(self, "runs"):
            try:
                self.heal()
            finally:
                Path.read_bytes = self.read_bytes
                shutil.rmtree(self.runs)

    def heal(self) -> None:
        """Without further faults the same command makes and notes everything, and leaves nothing behind."""
        self.unreadable.clear()
        for writer in list(self.writers):
            self.kill(writer)
        with complaints():  # damaged notes and plans are named until they are written anew
            for cell in CELLS:
                for _ in self.steps(cell):
                    pass
        self.plan()
        self.store.remove_free_claims()
        with complaints() as left_out:
            assert {record.id for record in sweep_records(self.runs, "s")} == set(CELLS)
        assert left_out == []
        names = os.listdir(self.store.root) + os.listdir(self.sweep_dir / "cells")
        assert [name for name in names if name.startswith((".claim-", ".part-"))] == []

    def steps(self, cell: str) -> Steps:
        """One cell as a command runs it: find, claim, make, note."""
        outcome = yield from self.made(cell)
        yield
        write_note(note_path(self.sweep_dir, [cell]), note_of([cell], [outcome], "run"))

    def made(self, cell: str) -> Generator[None, None, Outcome]:
        outcome = Outcome(cell, "female", 1.8, "cached", cell)
        if self.store.find(cell) is not None:
            return outcome
        yield
        with self.store.claim(cell, wait=False) as is_ours:
            if not is_ours:
                return Outcome(cell, "female", 1.8, "taken", cell)
            yield
            if self.store.find(cell) is not None:
                return outcome
            with self.store.new(cell) as folder:
                self.number = number = self.number + 1
                for name in PROVEN:
                    (folder / name).write_bytes(b"%d" % number * 100)
                    yield
                write_json(folder / METRICS_FILE, {})
                proof = proof_of(folder / name for name in PROVEN)
                yield
                write_json(folder / RECORD_FILE, content(cell, seed=number) | {"files": proof})
                yield
            self.whole.add(cell)
            self.measured[cell] = set()
            yield
        return Outcome(cell, "female", 1.8, "done", cell)

    # --- what happens ---

    @rule(writer=st.sampled_from(WRITERS), cell=st.sampled_from(CELLS))
    def start(self, writer: int, cell: str) -> None:
        if writer not in self.writers:
            self.writers[writer] = cell, self.steps(cell)

    @rule(cell=st.sampled_from(CELLS))
    def run_whole(self, cell: str) -> None:
        """A third writer, which nothing disturbs."""
        self.writers[len(WRITERS)] = cell, self.steps(cell)
        self.go_on(len(WRITERS), 1000)

    @precondition(lambda self: self.writers)
    @rule(writer=st.sampled_from(WRITERS), count=st.integers(1, 12))
    def go_on(self, writer: int, count: int) -> None:
        if writer in self.writers:
            cell, steps = self.writers[writer]
            try:
                for _ in range(count):
                    next(steps)
            except StopIteration:
                del self.writers[writer]
            except OSError:
                assert cell in self.unreadable
                del self.writers[writer]

    @precondition(lambda self: self.writers)
    @rule(writer=st.sampled_from(WRITERS))
    def kill(self, writer: int) -> None:
        if writer in self.writers:
            _, steps = self.writers.pop(writer)
            never = [mock.patch.object(os, name, nothing) for name in ("rename", "replace", "unlink", "rmdir")]
            never.append(mock.patch.object(shutil, "rmtree", nothing))
            for patch in never:
                patch.start()
            try:
                steps.throw(KilledError())
            except (KilledError, StopIteration):
                pass
            finally:
                for patch in never:
                    patch.stop()

    @precondition(lambda self: self.whole)
    @rule(cell=st.sampled_from(CELLS), how=st.sampled_from(DAMAGES))
    def damage(self, cell: str, how: str) -> None:
        if cell in self.whole:
            self.whole.remove(cell)
            folder, name = self.store.root / cell, f"mine-{len(self.mine)}"
            (folder / name).write_text("of a person")
            self.mine.add(name)
            if how == "no video":
                (folder / RESULT_FILE).unlink()
            elif how == "cut video":
                os.truncate(folder / RESULT_FILE, 7)
            else:
                (folder / RECORD_FILE).write_text(how)

    @precondition(lambda self: self.whole)
    @rule(cell=st.sampled_from(CELLS), name=st.sampled_from(("psnr", "ssim", "seam")))
    def measure(self, cell: str, name: str) -> None:
        with self.store.claim(cell, wait=False) as is_free:
            pass
        if cell in self.whole and cell not in self.unreadable and is_free:
            self.store.merge_measured(self.store.find(cell), {name: {"value": 1.0}}, {name: [1.0]})
            self.measured[cell].add(name)

    @rule(cell=st.sampled_from(CELLS))
    def become_unreadable(self, cell: str) -> None:
        self.unreadable ^= {cell}

    @rule(cell=st.sampled_from(CELLS), text=st.sampled_from((None, "", "{}")))
    def lose_note(self, cell: str, text: str | None) -> None:
        path = note_path(self.sweep_dir, [cell])
        if path.exists():
            path.unlink() if text is None else path.write_text(text)

    @rule()
    def plan(self) -> None:
        cells = [vars(PlannedCell([cell], {cell: cell})) for cell in CELLS]
        write_json(self.sweep_dir / PLAN_FILE, {"fingerprint": "", "reported": False, "cells": cells})

    # --- what must hold ---

    @invariant()
    def what_was_made_is_whole_and_complete(self) -> None:
        with complaints() as left_out:
            seen = {record.id: record for record in self.store.all()}
        assert set(seen) == self.whole - self.unreadable
        assert sum("cannot be read now" in line for line in left_out) == len(
            [cell for cell in self.unreadable if (self.store.root / cell).exists()]
        )
        for record in seen.values():
            assert record.fault(is_deep=True) is None
            data = (record.folder / RESULT_FILE).read_bytes()
            assert data == b"%d" % record.content["options"]["seed"] * 100
            assert set(record.metrics) == set(record.curves) == self.measured[record.id]

    @invariant()
    def what_cannot_be_read_now_stays(self) -> None:
        for cell in self.whole & self.unreadable:
            assert all((self.store.root / cell / name).is_file() for name in (*PROVEN, RECORD_FILE))

    @invariant()
    def nothing_of_a_person_is_deleted(self) -> None:
        places = [*self.store.root.glob("*/mine-*"), *(self.runs / SET_ASIDE_DIR).glob("*/mine-*")]
        assert sorted(path.name for path in places) == sorted(self.mine)

    @invariant()
    def planned_rows_are_in_the_table_or_named(self) -> None:
        if (self.sweep_dir / PLAN_FILE).exists():
            with complaints():
                assert {record.id for record in sweep_records(self.runs, "s")} == self.whole - self.unreadable
