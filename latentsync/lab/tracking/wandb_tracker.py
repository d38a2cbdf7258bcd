"""Finished records as runs of Weights & Biases."""

import glob
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from latentsync.disk import sync_content, sync_folder
from latentsync.files import remove
from latentsync.lab.options.schema import TrackerConfig
from latentsync.lab.records.labels import run_name, varied
from latentsync.lab.records.store import Record, RecordStore
from latentsync.lab.records.tags import tags_of
from latentsync.lab.tracking.trackers import artifact_name, config_of, curves_of, failure_id, run_id, values_of
from latentsync.lab.tracking.trial import Trial
from latentsync.lab.tracking.wandb_run import begin_run, end_service
from latentsync.metrics.definitions import DEFINITIONS, HEADLINES, base_name, direction_of

if TYPE_CHECKING:
    import wandb

SUMMARIES = {"higher": "max", "lower": "min"}  # what W&B keeps of a metric, by its better direction
GOALS = {"higher": "maximize", "lower": "minimize", "zero": "zero", "one": "one"}
THUMBNAIL_PX = 240  # width in the sweep's table


class WandbTracker:
    """One Weights & Biases run per record and one for the sweep, in the sweep's group.

    Ids are derived from record and sweep, so publishing again updates the same run. Raises wandb.errors.Error if the
    server refuses or cannot be reached (online mode only).

    Args:
        folder: the runs folder, in which wandb makes its own folder `wandb`.
    """

    def __init__(self, config: TrackerConfig, folder: Path) -> None:
        self.config = config
        self.folder = folder

    def publish(self, record: Record, sweep: str) -> None:
        """Writes one run: flat configuration with versions and hashes, metrics with goals, video, mouths, curves over
        seconds and shifts, its inputs and result as artifacts, and what people say about it as tags and notes."""
        import wandb

        facts, said = config_of(record.content, record.metrics), tags_of(record)
        tags = [facts["preset"], facts["gender"], _training_tag(facts["trained"]), *said.words]
        values, goals = values_of(record), _goals(record.metrics)
        settings = {"name": run_name(record.content), "job_type": "record", "tags": list(dict.fromkeys(tags))}
        notes = "\n".join(filter(None, [said.remark, facts["notes"]]))
        settings |= {"notes": notes or None, "config": facts | goals}
        with self._run(run_id(sweep, record.id), sweep, **settings) as run:
            _define(run, values)
            for curve, points in (curves := curves_of(record)).items():
                _log_curve(run, curve, points)
            media = {"video": wandb.Video(str(record.video_path), format="mp4")}
            if (mouths := self._mouths(record)) is not None:
                media["mouths"] = mouths
            run.log({**values, **media, **_curve_plots(curves)})
            for role in ("clip", "voice"):
                self._use(run, _input_artifact(facts[role], facts[f"{role}_sha256"], role))
            result = wandb.Artifact(artifact_name(f"record-{record.id}"), type="record", metadata=facts)
            result.add_file(str(record.video_path), skip_cache=True, policy="immutable")
            run.log_artifact(result)
            reasons = {f"{n}_reason": e["reason"] for n, e in record.metrics.items() if e["value"] is None}
            run.summary.update({**values, **reasons})

    def publish_failure(self, failure: Mapping[str, Any], sweep: str) -> None:
        """Writes the failed run of a failed pair, with its stage and reason."""
        facts = {name: failure.get(name) for name in ("pair", "gender", "guidance_scale", "stage", "reason")}
        facts["overrides"] = list(failure["overrides"])
        settings = {"name": f"failed {failure['pair']}", "job_type": "record", "tags": ["failed"], "config": facts}
        with self._run(failure_id(sweep, failure), sweep, exit_code=1, **settings) as run:
            run.summary.update({"reason": failure.get("reason") or "", "stage": failure.get("stage") or ""})

    def publish_sweep(
        self, sweep: str, table: pd.DataFrame, files: list[Path], failures: Sequence[Mapping[str, Any]]
    ) -> None:
        """Writes the sweep's own run: its grid and model, the means of the headline metrics, the table with thumbnails,
        its failed pairs, its pictures, and all of its files as an artifact whose inputs are the records' results. It is
        a failed run if all pairs failed.

        Args:
            table: one row per record.
        """
        import wandb

        means = _means(table)
        facts = {"sweep": sweep, "records": len(table), "failures": len(failures), **grid_of(table), **_goals(means)}
        settings = {"name": sweep, "job_type": "sweep", "tags": ["sweep", *_tags(table, failures)], "config": facts}
        with self._run(run_id(sweep), sweep, exit_code=int(table.empty), **settings) as run:
            _define(run, means)
            pictures = {path.stem: wandb.Image(str(path)) for path in files if path.suffix == ".png"}
            run.log(self._tables(table, failures) | pictures)
            if files:
                self._log_files(run, sweep, table, files)
            run.summary.update({"records": len(table), "failures": len(failures), **means})

    def publish_trial(self, trial: Trial, sweep: str, table: pd.DataFrame) -> None:
        """Reports into the run of the agent that started this command: the grid of its own records, the objective and
        the means of the headline metrics, and the table with thumbnails; of a single record its video, too. It is a
        failed run if a pair failed or the objective has no value.

        Args:
            table: one row per record of the sweep, in which earlier trials may have records, too.
        """
        import wandb

        table = table[table["record"].isin(trial.records)] if len(table) else table
        means = _means(table, trial.objective)
        has_failed = bool(trial.failures) or table.empty or trial.objective not in {None, *means}
        facts = {"sweep": sweep, "objective": trial.objective, **grid_of(table), **_goals(means)}
        end_service()  # it may have begun apart from the agent
        run = begin_run(
            self.config, self.folder, job_type="trial", tags=["trial", *_tags(table, trial.failures)], config=facts
        )
        try:
            _define(run, means)
            media = self._tables(table, trial.failures)
            if len(table) == 1:
                path = RecordStore(self.folder).look(table["record"].iloc[0]).video_path
                media["video"] = wandb.Video(str(path), format="mp4")
            run.log(means | media)
            reasons = {"reason": "; ".join(str(each.get("reason")) for each in trial.failures)} if has_failed else {}
            run.summary.update({"records": len(table), "failures": len(trial.failures), **means, **reasons})
        finally:
            run.finish(exit_code=int(has_failed))
            end_service()  # the next run is none of the agent's

    def _tables(self, table: pd.DataFrame, failures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The records with thumbnails, and the failed pairs, as tables of W&B; none for no rows."""
        import wandb

        shown = {}
        if len(table):
            store, cells = RecordStore(self.folder), {name: _column(table[name]) for name in table.columns}
            thumbnails = [_thumbnail(store, record_id) for record_id in table["record"]]
            rows = [list(row) for row in zip(thumbnails, *cells.values(), strict=True)]
            shown["table"] = wandb.Table(columns=["thumbnail", *cells], data=rows)
        if failures:
            names = ["pair", "stage", "reason"]
            rows = [[" ".join(each["overrides"]), *(str(each.get(name) or "") for name in names)] for each in failures]
            shown["failed_pairs"] = wandb.Table(columns=["cell", *names], data=rows)
        return shown

    def _log_files(self, run: "wandb.Run", sweep: str, table: pd.DataFrame, files: list[Path]) -> None:
        """Logs the files of a sweep as an artifact."""
        import wandb

        metadata = {"sweep": sweep, "inputs": [f"record-{record_id}" for record_id in table["record"]]}
        artifact = wandb.Artifact(artifact_name(f"sweep-{sweep}"), type="sweep", metadata=metadata)
        for path in files:
            artifact.add_file(str(path), skip_cache=True, policy="immutable")
        if self.config.wandb_mode == "online":
            for record_id in table["record"]:
                run.use_artifact(f"{artifact_name(f'record-{record_id}')}:latest")
        run.log_artifact(artifact)

    def _use(self, run: "wandb.Run", artifact: "wandb.Artifact") -> None:
        """Makes an artifact an input of a run. Offline, W&B can only log it; its name and hash say what went in."""
        if self.config.wandb_mode == "online":
            run.use_artifact(artifact)
        else:
            run.log_artifact(artifact)

    @contextmanager
    def _run(self, identifier: str, sweep: str, exit_code: int = 0, **facts: Any) -> Iterator["wandb.Run"]:
        own_folder = self.folder / "wandb"
        # the second run of an id in one second gets `-1` at the end of its name
        earlier = [path for path in own_folder.glob(f"offline-run-*-{glob.escape(identifier)}*") if path.is_dir()]
        resume = "allow" if self.config.wandb_mode == "online" else None
        settings = {"joins_agent": False, "id": identifier, "group": sweep, "resume": resume}
        run = begin_run(self.config, self.folder, **settings, **facts)
        try:
            yield run
        finally:
            run.finish(exit_code=exit_code)
        if self.config.wandb_mode == "offline":  # the new run has everything that the earlier run of this id had
            new = Path(run.dir).parent
            sync_content(new)
            sync_folder(own_folder)
            for path in earlier:
                if path != new:
                    remove(path)

    def _mouths(self, record: Record) -> "wandb.Image | None":
        """The mouths of a record's clip above those of its result, as its previews have them; None without a face."""
        import numpy as np
        import wandb
        from PIL import Image

        from latentsync.errors import LatentSyncError
        from latentsync.lab.figures.previews import preview_of, preview_of_its_clip

        try:
            result = preview_of(self.folder, record)
            clip = preview_of_its_clip(self.folder, record, result.num_frames)
        except LatentSyncError:
            return None
        if result.strip is None:
            return None
        is_clip_shown = clip is not None and clip.times_s == result.times_s and clip.strip is not None
        strips = [clip.strip, result.strip] if is_clip_shown else [result.strip]
        mouths = np.vstack([np.asarray(Image.open(strip).convert("RGB")) for strip in strips])
        times = ", ".join(f"{time:.2f}" for time in result.times_s)
        said = "clip above result" if is_clip_shown else "result"
        return wandb.Image(mouths, caption=f"{said}, at {times} s")

    def close(self) -> None:
        """Ends wandb's service; the files of all runs are written when this returns."""
        end_service()


def grid_of(table: pd.DataFrame) -> dict[str, Any]:
    """The configuration of a sweep's run: its models, and each option with its value, or the list of its values where
    it was swept (as `grid`)."""
    if table.empty:
        return {"grid": {}}
    shared = [name for name in ("model", "num_inference_steps", "guidance_scale", "seed", "size_px") if name in table]
    values = {name: sorted(table[name].dropna().unique().tolist()) for name in {*shared, *varied(table)}}
    grid = {name: several for name, several in values.items() if len(several) > 1}
    return {"grid": grid} | {name: several[0] if len(several) == 1 else several for name, several in values.items()}


def _means(table: pd.DataFrame, objective: str | None = None) -> dict[str, float]:
    """The means of the headline metrics that have a value, and of the objective."""
    names = dict.fromkeys([*HEADLINES, *([] if objective is None else [objective])])
    return {name: float(table[name].mean()) for name in names if name in table and table[name].notna().any()}


def _tags(table: pd.DataFrame, failures: Sequence[Mapping[str, Any]]) -> list[str]:
    """The tags of all records of a table, and of failed pairs."""
    tags = ["failed"] if failures else []
    if table.empty:
        return tags
    given = table["preset"].where(table["guidance_from"] != "given", "given")
    return [*sorted({*given, *table["gender"]}), _training_tag(table["trained"].all()), *tags]


def _goals(names: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    known = {name: direction_of(name) for name in names if base_name(name) in DEFINITIONS}
    return {"goals": {name: GOALS[direction] for name, direction in known.items() if direction in GOALS}}


def _define(run: "wandb.Run", names: Mapping[str, Any]) -> None:
    """Names the axis of the curves, and the better direction of each metric."""
    run.define_metric("second", hidden=True)
    run.define_metric("shift", hidden=True)
    for name in names:
        known = base_name(name) in DEFINITIONS
        run.define_metric(name, summary=SUMMARIES.get(direction_of(name) if known else "lower", "last"))


def _log_curve(run: "wandb.Run", name: str, points: list[tuple[float, float]]) -> None:
    axis = _axis(name)[0]
    run.define_metric(f"curves/{name}", step_metric=axis, summary="none")
    for x, y in points:
        run.log({f"curves/{name}": y, axis: x})


def _axis(name: str) -> tuple[str, str]:
    """The key of a curve's axis, and its title."""
    return ("shift", "shift (frames)") if name.endswith("_by_shift") else ("second", "time (s)")


def _input_artifact(name: str, sha256: str, role: str) -> "wandb.Artifact":
    """An input by name and hash. The file itself is not sent."""
    import wandb

    artifact = wandb.Artifact(
        artifact_name(f"{role}-{sha256[:12]}"), type=role, metadata={"sha256": sha256, "file": name}
    )
    with artifact.new_file(f"{role}.sha256", mode="w") as file:
        file.write(f"{sha256}  {name}\n")
    return artifact


def _column(values: pd.Series) -> list[Any]:
    """A column of a W&B table, which takes one type: numbers, yes or no, or else texts; None for a missing value."""
    known = values.astype(object).where(values.notna(), None).tolist()
    kinds = {type(value) for value in known if value is not None}
    if kinds <= {bool} or kinds <= {int, float}:
        return known
    return [None if value is None else str(value) for value in known]


def _thumbnail(store: RecordStore, record_id: str) -> "wandb.Image | None":
    """The middle frame of a record's video; None where the video cannot be read."""
    import wandb
    from PIL import Image

    from latentsync import media
    from latentsync.errors import LatentSyncError

    try:
        path = store.look(record_id).video_path
        middle = media.probe(path).num_frames // 2
        frame = next(media.read_frames_in_order(path, [middle]))
    except (LatentSyncError, OSError):
        return None
    picture = Image.fromarray(frame)
    picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    return wandb.Image(picture)


def _curve_plots(curves: Mapping[str, list[tuple[float, float]]]) -> dict:
    """A line plot for each curve over seconds or shifts."""
    import wandb

    plots = {}
    for name, points in curves.items():
        title = _axis(name)[1]
        table = wandb.Table(columns=[title, "distance"], data=[list(point) for point in points])
        plots[name] = wandb.plot.line(table, title, "distance", title=name)
    return plots


def _training_tag(trained: bool) -> str:
    return "trained" if trained else "untrained"
