"""Jobs that write through the door, and what their readers find afterwards.

A job is added by an entry of `JOBS`: `begin` makes the state before, `work` does what is disturbed, `look` reads as the
product does and answers "old" or "new" (both are whole), "lost" (something that was whole is gone), "half" (something
is taken for whole and is not) or "doubled".
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch
from record_content import content

from faults.offline import finished_runs, offline
from latentsync.errors import DamagedFileError, LatentSyncError
from latentsync.files import (
    find_json,
    place_together,
    private_folder,
    read_json,
    recover,
    whole_files,
    whole_folder,
    write_json,
    write_text,
)
from latentsync.lab.jobs.folder import Outputs
from latentsync.lab.options.folders import sweep_folder
from latentsync.lab.options.schema import TrackerConfig
from latentsync.lab.pages import REPORT_FILE, contents
from latentsync.lab.pages.write import write_report
from latentsync.lab.records.archive import archive
from latentsync.lab.records.archived import archive_of
from latentsync.lab.records.store import PROVEN, RECORD_FILE, SET_ASIDE_DIR, RecordStore
from latentsync.lab.records.sweeps import sweep_records
from latentsync.lab.tracking.publish import PUBLISHED_FILE, publish
from latentsync.lab.tracking.publish import _digest as digest
from latentsync.lab.tracking.trackers import run_id
from latentsync.proof import proof_of
from latentsync.training import checkpoint

WHOLE = ("old", "new")


@dataclass(frozen=True)
class Job:
    """See the module.

    Attributes:
        stride: of the job's calls at the door, every which one fails in the short form.
    """

    begin: Callable[[Path], None]
    work: Callable[[Path], None]
    look: Callable[[Path], str]
    stride: int = 1


# --- one JSON file ---


def write_number(number: int) -> Callable[[Path], None]:
    return lambda folder: write_json(folder / "note.json", {"number": number})


def look_at_number(folder: Path) -> str:
    try:
        content = read_json(folder / "note.json")
    except DamagedFileError:
        return "half"
    return "lost" if content is None else {1: "old", 2: "new"}.get(content.get("number"), "half")


# --- a folder in the place of another, as exported weights ---


def export(text: str) -> Callable[[Path], None]:
    def work(folder: Path) -> None:
        with whole_folder(folder / "weights") as part:
            (part / "unet").mkdir()
            for name in ("config.json", "unet/net.bin"):
                (part / name).write_text(text)

    return work


def look_at_weights(folder: Path) -> str:
    recover(folder)
    path = folder / "weights"
    if not path.is_dir():
        return "lost"
    texts = {file.read_text() if file.is_file() else "" for file in (path / "config.json", path / "unet/net.bin")}
    return texts.pop() if len(texts) == 1 and texts <= set(WHOLE) else "half"


# --- records ---


def fill(folder: Path, name: str) -> None:
    """What a cell writes."""
    for file in PROVEN:
        (folder / file).write_bytes(f"{name} {file}".encode() * 20)
    write_json(folder / RECORD_FILE, content(name) | {"files": proof_of([folder / file for file in PROVEN])})


def make_record(name: str) -> Callable[[Path], None]:
    def work(runs: Path) -> None:
        store = RecordStore(runs)
        if store.find(name) is None:
            with store.claim(name, wait=True), store.new(name) as part:
                fill(part, name)

    return work


def begin_damaged(runs: Path) -> None:
    make_record("a")(runs)
    make_record("b")(runs)
    (runs / "records" / "b" / PROVEN[0]).write_bytes(b"cut")


def look_at_records(runs: Path) -> str:
    store = RecordStore(runs)
    names = {record.id for record in store.all() if record.fault(is_deep=True) is None}
    if "a" not in names:
        return "lost"
    if len(store.ids()) > 2:
        return "doubled"
    if "b" in names:
        return "new"
    return "half" if (store.root / "b").exists() else "old"


def look_at_damaged(runs: Path) -> str:
    """The damaged one stays in its place or in set_aside until the new one stands, and after that."""
    found = look_at_records(runs)
    places = [runs / "records" / "b", *(runs / SET_ASIDE_DIR).glob("b-*")]
    kept = any((path / PROVEN[0]).is_file() and (path / PROVEN[0]).read_bytes() == b"cut" for path in places)
    if not kept:
        return "lost"
    return "old" if found == "half" else found


# --- the metrics of a record, to which others are added later ---

ENTRY = {"value": 1.0, "unit": "", "direction": "none", "protocol": "known"}


def begin_measured(runs: Path) -> None:
    make_record("a")(runs)
    store = RecordStore(runs)
    store.merge_measured(store.find("a"), {"before": ENTRY}, {})


def measure_more(runs: Path) -> None:
    store = RecordStore(runs)
    store.merge_measured(store.find("a"), {"later": ENTRY}, {})


def look_at_metrics(runs: Path) -> str:
    record = RecordStore(runs).find("a")
    metrics = {} if record is None else record.metrics
    if metrics.get("before") != ENTRY:
        return "lost"
    if "later" not in metrics:
        return "old"
    return "new" if metrics["later"] == ENTRY else "half"


# --- the tables and figures of a sweep ---

SWEEP_FILES = ("table.csv", "figure.png")


def summarise(text: str) -> Callable[[Path], None]:
    def work(folder: Path) -> None:
        with whole_files(folder, SWEEP_FILES) as part:
            for name in SWEEP_FILES:
                (part / name).write_text(text)

    return work


def look_at_summary(folder: Path) -> str:
    recover(folder)
    paths = [folder / name for name in SWEEP_FILES]
    if not all(path.is_file() for path in paths):
        return "lost"
    texts = {path.read_text() for path in paths}
    return texts.pop() if len(texts) == 1 and texts <= set(WHOLE) else "half"


# --- checkpoints ---


def save_step(step: int) -> Callable[[Path], None]:
    def work(folder: Path) -> None:
        tensors = {"net.weight": torch.full((4,), float(step))}
        checkpoint.remove_later(folder, step)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            checkpoint.save(folder, checkpoint.State(tensors, {"step": step}, {"step": step, "position": 0}))

    return work


def begin_checkpoints(folder: Path) -> None:
    save_step(1)(folder)
    save_step(2)(folder)


def look_at_checkpoints(folder: Path) -> str:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            state = checkpoint.load_last(folder)
        except LatentSyncError:
            return "lost"
    if state is None or state.state["step"] < 2:
        return "lost"
    if warned or not torch.equal(state.networks["net.weight"], torch.full((4,), float(state.state["step"]))):
        return "half"
    return "new" if state.state["step"] == 3 else "old"


# --- the outputs of a pair of a folder job ---

OUTPUTS = ("g_out.mp4", "g_mask.mp4", "g.json")


def make_outputs(text: str) -> Callable[[Path], None]:
    def work(folder: Path) -> None:
        recover(folder)
        if outputs(folder).are_done(text):
            return
        with private_folder(folder) as scratch:
            parts = [scratch / name for name in OUTPUTS]
            for part in parts[:2]:
                part.write_text(f"{text} {part.name}")
            write_json(parts[2], {"id": text, "files": proof_of(parts[:2])})
            place_together(dict(zip(OUTPUTS, parts, strict=True)), folder, proof=OUTPUTS[2])

    return work


def outputs(folder: Path) -> Outputs:
    return Outputs(*(folder / name for name in OUTPUTS))


def look_at_outputs(folder: Path) -> str:
    recover(folder)
    files = outputs(folder)
    for text in WHOLE:
        if files.are_done(text):
            return text if files.video.read_text() == f"{text} {files.video.name}" else "half"
    return "lost" if find_json(files.sidecar) is None else "half"


# --- publications and reports of a sweep that has got another record ---

SWEEP, TABLE = "s", "table.csv"


def add_record(name: str) -> Callable[[Path], None]:
    def work(runs: Path) -> None:
        make_record(name)(runs)
        store, folder = RecordStore(runs), sweep_folder(runs, SWEEP)
        store.merge_measured(store.find(name), {f"of {name}": ENTRY}, {})
        outcome = {"record": name, "status": "done"}
        write_json(folder / "cells" / f"{name}.json", {"overrides": [], "noted": 0.0, "outcomes": [outcome]})
        write_text(folder / TABLE, name)

    return work


def publish_all(runs: Path) -> None:
    with offline():
        _, stopped = publish(sweep_records(runs, SWEEP), SWEEP, TrackerConfig(wandb=True), runs)
    if stopped is not None:
        raise OSError(stopped)


def look_at_published(runs: Path) -> str:
    """What is noted as published is in a finished run; when all is noted, there is one run of each id."""
    noted = next(iter((read_json(runs / "wandb" / PUBLISHED_FILE) or {}).values()), {})
    found = {name: finished_runs(runs, run_id(SWEEP, name)) for name in "ab"}
    found[run_id(SWEEP)] = finished_runs(runs, run_id(SWEEP))
    if not noted.keys() >= {"a", run_id(SWEEP)} or not all(found[name] for name in noted):
        return "lost"
    if noted.keys() != found.keys() or noted[run_id(SWEEP)] != digest([sweep_folder(runs, SWEEP) / TABLE]):
        return "old"
    wanted = {name: {f"of {name}": ENTRY} for name in "ab"} | {run_id(SWEEP): {TABLE: "b"}}
    if not all(values in found[name] for name, values in wanted.items()):
        return "half"
    return "new" if len(list((runs / "wandb").glob("offline-run-*"))) == len(wanted) else "doubled"


def write_page(runs: Path) -> None:
    with mock.patch.object(contents, "figures_of", lambda *_: {}):  # they take the time, and write nothing
        write_report(runs, SWEEP, detector=mock.Mock())


def look_at_page(runs: Path) -> str:
    path = sweep_folder(runs, SWEEP) / REPORT_FILE
    if not path.is_file():
        return "lost"
    html = path.read_text()
    names = {name for name in "ab" if f">of {name}<" in html}
    if not html.endswith("</html>") or "a" not in names:
        return "half"
    return "new" if "b" in names else "old"


# --- a sweep that is archived ---


def begin_archived(runs: Path) -> None:
    add_record("a")(runs)
    add_record("b")(runs)


def archive_sweep(runs: Path) -> None:
    archive(runs, sweep=SWEEP)


def look_at_archived(runs: Path) -> str:
    """Every record is whole in one of the two places, and the notes are where the same command finds all the rest."""
    places = runs, archive_of(runs)
    holders = [
        [place for place in places if (record := RecordStore(place).find(name)) and record.fault(is_deep=True) is None]
        for name in "ab"
    ]
    if not all(holders):
        return "lost"
    if any(len(each) > 1 for each in holders):
        return "doubled"
    if len(list((sweep_folder(runs, SWEEP) / "cells").glob("*.json"))) == 2:
        return "old"
    is_whole = len(list((sweep_folder(places[1], SWEEP) / "cells").glob("*.json"))) == 2
    return "new" if is_whole and holders == [[places[1]]] * 2 else "half"


def in_turn(*steps: Callable[[Path], None]) -> Callable[[Path], None]:
    def work(folder: Path) -> None:
        for step in steps:
            step(folder)

    return work


JOBS = {
    "a JSON file": Job(write_number(1), write_number(2), look_at_number),
    "exported weights": Job(export("old"), export("new"), look_at_weights),
    "a new record": Job(make_record("a"), make_record("b"), look_at_records),
    "a damaged record": Job(begin_damaged, make_record("b"), look_at_damaged),
    "metrics of a record": Job(begin_measured, measure_more, look_at_metrics),
    "tables of a sweep": Job(summarise("old"), summarise("new"), look_at_summary),
    "a checkpoint": Job(begin_checkpoints, save_step(3), look_at_checkpoints),
    "a folder pair": Job(make_outputs("old"), make_outputs("new"), look_at_outputs),
    "an archived sweep": Job(begin_archived, archive_sweep, look_at_archived),
    "publications": Job(in_turn(add_record("a"), publish_all, add_record("b")), publish_all, look_at_published, 5),
    "a report": Job(in_turn(add_record("a"), write_page, add_record("b")), write_page, look_at_page, 3),
}
