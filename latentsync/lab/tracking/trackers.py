"""Trackers with one small protocol. They receive finished records; nothing is logged during generation."""

import glob
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from latentsync.disk import sync_content, sync_folder
from latentsync.files import remove
from latentsync.lab.options.schema import TrackerConfig
from latentsync.lab.records.columns import facts_of_record
from latentsync.lab.records.labels import run_name
from latentsync.lab.records.store import Record
from latentsync.lab.tracking.wandb_run import begin_run, end_service

if TYPE_CHECKING:
    import wandb

    from latentsync.faces.landmarks import LandmarkDetector

CURVE_AXES = {"by_window": "window", "by_shift": "shift (frames)"}  # by the ending of the curve's name


class Tracker(Protocol):
    """Receives the finished records of a sweep, and the sweep itself."""

    def publish(self, record: Record, sweep: str) -> None: ...

    def publish_sweep(self, sweep: str, table: pd.DataFrame, files: list[Path]) -> None: ...

    def close(self) -> None:
        """Returns when everything has been sent or written."""


class NoTracker:
    """A tracker that ignores all records."""

    def publish(self, record: Record, sweep: str) -> None:
        return None

    def publish_sweep(self, sweep: str, table: pd.DataFrame, files: list[Path]) -> None:
        return None

    def close(self) -> None:
        return None


class WandbTracker:
    """One Weights & Biases run per record and one for the sweep, in the sweep's group.

    Ids are derived from record and sweep, so publishing again updates the same run. Raises wandb.errors.Error if the
    server refuses or cannot be reached (online mode only).

    Args:
        folder: the folder in which wandb makes its own folder `wandb`.
    """

    def __init__(self, config: TrackerConfig, folder: Path) -> None:
        self.config = config
        self.folder = folder

    def publish(self, record: Record, sweep: str) -> None:
        """Writes one run: flat configuration, metrics, video, mouths, curves of sync by window and shift."""
        import wandb

        content = record.content
        tags = [content["preset"]["name"], content["pair"]["gender"], _training_tag(content["model"]["trained"])]
        settings = {"name": run_name(content), "job_type": "record", "tags": tags, "config": facts_of_record(content)}
        with self._run(run_id(sweep, record.id), sweep, **settings) as run:
            values = {name: entry["value"] for name, entry in record.metrics.items() if entry["value"] is not None}
            values["seconds"] = content["timings_s"]["total"]
            media = {"video": wandb.Video(str(record.video_path), format="mp4")}
            if (mouths := self._mouths(record)) is not None:
                media["mouths"] = mouths
            run.log({**values, **media, **_curve_plots(record.curves)})
            reasons = {f"{n}_reason": e["reason"] for n, e in record.metrics.items() if e["value"] is None}
            run.summary.update({**values, **reasons})

    def publish_sweep(self, sweep: str, table: pd.DataFrame, files: list[Path]) -> None:
        """Writes the sweep's own run: the table, its pictures, and all of its files as an artifact.

        Args:
            table: one row per record.
        """
        import wandb

        tags = ["sweep", *sorted({*table["preset"], *table["gender"]}), _training_tag(table["trained"].all())]
        settings = {"name": sweep, "job_type": "sweep", "tags": tags, "config": {"sweep": sweep, "records": len(table)}}
        with self._run(run_id(sweep), sweep, **settings) as run:
            pictures = {path.stem: wandb.Image(str(path)) for path in files if path.suffix == ".png"}
            cells = table.astype(object).where(table.notna(), None)
            run.log({"table": wandb.Table(dataframe=cells, allow_mixed_types=True), **pictures})
            artifact = wandb.Artifact(artifact_name(sweep), type="sweep", metadata={"sweep": sweep})
            for path in files:
                artifact.add_file(str(path), skip_cache=True, policy="immutable")
            run.log_artifact(artifact)
            run.summary.update({"records": len(table)})

    @contextmanager
    def _run(self, identifier: str, sweep: str, **facts: Any) -> Iterator["wandb.Run"]:
        own_folder = self.folder / "wandb"
        # the second run of an id in one second gets `-1` at the end of its name
        earlier = [path for path in own_folder.glob(f"offline-run-*-{glob.escape(identifier)}*") if path.is_dir()]
        resume = "allow" if self.config.mode == "online" else None
        run = begin_run(self.config, self.folder, id=identifier, group=sweep, resume=resume, **facts)
        try:
            yield run
        finally:
            run.finish()
        if self.config.mode == "offline":  # the new run has everything that the earlier run of this id had
            new = Path(run.dir).parent
            sync_content(new)
            sync_folder(own_folder)
            for path in earlier:
                if path != new:
                    remove(path)

    @cached_property
    def _detector(self) -> "LandmarkDetector":
        from latentsync.faces.landmarks import MediaPipeLandmarks

        return MediaPipeLandmarks()

    def _mouths(self, record: Record) -> "wandb.Image | None":
        """The mouths of a record; None if none of the sampled frames shows a face."""
        import wandb
        from PIL import Image

        from latentsync.errors import LatentSyncError
        from latentsync.lab.figures.mouths import mouth_strip
        from latentsync.lab.figures.style import png_bytes

        try:
            figure = mouth_strip(record, self._detector)
        except LatentSyncError:
            return None
        return wandb.Image(Image.open(BytesIO(png_bytes(figure, 120))), caption="clip above result")

    def close(self) -> None:
        """Ends wandb's service; the files of all runs are written when this returns."""
        end_service()


def _curve_plots(curves: dict) -> dict:
    """A line plot for each curve over windows or shifts; windows without a value are left out."""
    import wandb

    plots = {}
    for name, values in curves.items():
        ending = next((ending for ending in CURVE_AXES if name.endswith(ending)), None)
        points = [(i, value) for i, value in enumerate(values) if value is not None]
        if ending is None or not points:
            continue
        first = len(values) // 2 if ending == "by_shift" else 0  # shifts are symmetric
        table = wandb.Table(columns=[CURVE_AXES[ending], "distance"], data=[[i - first, value] for i, value in points])
        plots[name] = wandb.plot.line(table, CURVE_AXES[ending], "distance", title=name)
    return plots


def make_tracker(config: TrackerConfig, runs_dir: Path) -> Tracker:
    """The configured tracker."""
    return NoTracker() if config.kind == "none" else WandbTracker(config, runs_dir)


def run_id(sweep: str, record_id: str | None = None) -> str:
    """The id of a record's run, or of the sweep's own run. It is the same on every machine and at every time.

    A record that belongs to two sweeps has a run in the group of each.
    """
    digits = hashlib.sha256(sweep.encode()).hexdigest()[:8]
    return f"sweep-{digits}" if record_id is None else f"{record_id}-{digits}"


def artifact_name(sweep: str) -> str:
    """The name of the sweep's artifact. W&B allows letters, digits, dots, dashes and underscores."""
    return f"sweep-{re.sub(r'[^A-Za-z0-9._-]', '_', sweep)}"[:128]


def _training_tag(trained: bool) -> str:
    return "trained" if trained else "untrained"
