"""The child process of the fuzz: reads files one by one as the product does, and prints how each ended.

    python reading.py KIND

Paths come from standard input, one a line. For each, one line goes out: `READ`, `REFUSED sentence` or `BARE error`,
which is an exception that is no LatentSyncError. Memory is limited, so that a header that asks for more fails.
"""

import resource
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path

MEMORY_BYTES = 6 << 30  # of addresses, which the libraries' threads take much of
MOST_GROWN_MB = 700  # of resident memory, by one file of a few KB


def last_refusal(*steps: Callable[[], object]) -> Exception | None:
    """Takes all steps, and returns the last refusal among them; None without one."""
    from latentsync.errors import LatentSyncError

    refused = None
    for step in steps:
        try:
            step()
        except LatentSyncError as error:
            refused = error
    return refused


def read_media(path: Path) -> None:
    """All that the product asks of a clip and a voice."""
    from latentsync import media
    from latentsync.errors import LatentSyncError
    from latentsync.lab.options.inputs import refusal
    from latentsync.media.departures import reading_notes
    from latentsync.media.kinds import kind_of
    from latentsync.media.sound import probe_wav, read_wav, sound_blocks

    def frames() -> None:
        for rate_hz in (25, None):
            count = media.probe(path, rate_hz).num_frames
            for start in (0, count // 2):
                for _ in media.read_frames(path, rate_hz, start, start + 8):
                    pass
            media.frame_times(path, rate_hz)

    def backwards() -> None:
        count = min(media.probe(path).num_frames, 6)
        for _ in media.read_frames_in_order(path, range(count - 1, -1, -1)):
            pass

    def sound() -> None:
        for _ in islice(sound_blocks(path), 3000):
            pass

    def written() -> None:
        import numpy as np

        for coding in ("auto", "lossless"):
            with (
                tempfile.TemporaryDirectory() as folder,
                media.VideoWriter(Path(folder) / "a.mp4", 16, 16, sound=path, sound_coding=coding) as out,
            ):
                for _ in range(3):
                    out.write(np.zeros((16, 16, 3), np.uint8))

    def moved() -> None:
        from fractions import Fraction

        from latentsync.media.moved import copy_with_sound_moved

        with tempfile.TemporaryDirectory() as folder:
            copy_with_sound_moved(path, Path(folder) / "a.mkv", Fraction(1, 25))

    def checked() -> None:
        from latentsync.lab.jobs.check import check

        check(path, lambda frame: [])

    refused = last_refusal(frames, backwards, lambda: media.probe_sound(path), sound, written, moved, checked)
    for wav in (probe_wav, read_wav):
        with suppress(LatentSyncError):
            wav(path)
    kind_of(path), refusal(path, True), refusal(path, False), reading_notes(path, path)
    if refused is not None:
        raise refused


def read_checkpoint(path: Path) -> None:
    """A file of weights as every loader opens it, and as a part of a training's checkpoint."""
    import shutil
    import warnings

    from latentsync.checkpoints.unet import recognise_unet
    from latentsync.files import read_json, write_json
    from latentsync.training import checkpoint
    from latentsync.weights import file_sha256
    from latentsync.weights.tensors import read_state_dict

    def as_part() -> None:
        part = path.name.rpartition("__")[2]
        if part not in (checkpoint.NETWORKS_FILE, checkpoint.OPTIMIZER_FILE, checkpoint.STATE_FILE):
            return
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            empty = checkpoint.State({}, {}, {"step": 1, "position": [0, 0]})
            target = checkpoint.save(Path(folder), empty)
            shutil.copy(path, target / part)
            facts = {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
            proof = read_json(target / checkpoint.PROOF_FILE)["files"] | {part: facts}  # else it would not be loaded
            write_json(target / checkpoint.PROOF_FILE, {"files": proof})
            checkpoint.load_last(Path(folder))

    refused = last_refusal(lambda: read_state_dict(path), lambda: recognise_unet(path), as_part)
    if refused is not None:
        raise refused


def read_configuration(path: Path) -> None:
    """A Hydra configuration of one's own, and a UNet configuration."""
    from latentsync.checkpoints.unet import read_unet_config
    from latentsync.lab.options.schema import read_config
    from latentsync.lab.sweeps import request

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "experiment").mkdir()
        (Path(folder) / "experiment/own.yaml").write_bytes(path.read_bytes())
        refused = last_refusal(
            lambda: read_config(request.read(["--config-dir", folder, "experiment=own"]).config),
            lambda: read_unet_config(path),
        )
    if refused is not None:
        raise refused


def read_list(path: Path) -> None:
    """A list of pairs."""
    from latentsync.lab.options.pairs import listed_pairs

    errors = [pair for pair in listed_pairs(path) if isinstance(pair, Exception)]
    if errors:
        raise errors[0]


def read_record(path: Path) -> None:
    """A record's JSON, in a store of its own, as tables and reports read it."""
    import json
    import shutil

    from latentsync.lab.records.store import RecordStore
    from latentsync.lab.tables.tidy import collect

    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "records" / "0123456789abcdef"
        record.mkdir(parents=True)
        for name in ("record.json", "metrics.json", "curves.json"):
            (record / name).write_text(json.dumps({}))
        shutil.copy(path, record / path.name.rpartition("__")[2])
        for name in ("result.mp4", "mask.mp4"):
            (record / name).write_bytes(b"")
        collect(folder)
        for one in RecordStore(Path(folder)).all():
            one.fault(is_deep=True), one.content, one.metrics, one.curves


READERS: dict[str, Callable[[Path], None]] = {
    "media": read_media, "checkpoint": read_checkpoint, "configuration": read_configuration, "list": read_list,
    "record": read_record,
}  # fmt: skip


def main(kind: str) -> None:
    """Reads the files that standard input names."""
    from latentsync.errors import LatentSyncError

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        path = Path(line.rstrip("\n"))
        before = _peak_mb()
        try:
            READERS[kind](path)
            outcome = "READ"
        except LatentSyncError as error:
            outcome = f"REFUSED {str(error)!r}"
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            outcome = f"BARE {type(error).__name__}: {error!s:.200} ({where.filename}:{where.lineno})"
        if (grown := _peak_mb() - before) > MOST_GROWN_MB:
            outcome = f"BARE memory grew by {grown} MB; {outcome}"
        print(outcome.replace("\n", " "), flush=True, file=sys.__stdout__)


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main(sys.argv[1])
