"""Trackers behind one small protocol. They take finished records; nothing is logged while frames are made."""

import os
from pathlib import Path
from typing import Protocol

from experiments.record import Record
from experiments.schema import TrackerConfig


class Tracker(Protocol):
    """Takes finished records of a sweep."""

    def publish(self, record: Record, sweep: str) -> None: ...

    def close(self) -> None:
        """Returns when everything published is where it belongs."""


class NoTracker:
    """Takes records and does nothing with them."""

    def publish(self, record: Record, sweep: str) -> None:
        return None

    def close(self) -> None:
        return None


class WandbTracker:
    """One Weights & Biases run per record, grouped by sweep, with an id that is the record's.

    Args:
        folder: where wandb keeps its files.
    """

    def __init__(self, config: TrackerConfig, folder: Path) -> None:
        self.config = config
        self.folder = folder

    def publish(self, record: Record, sweep: str) -> None:
        """Writes one run: flat configuration, metrics, video.

        Raises:
            wandb.errors.Error: the server refuses or cannot be reached (online mode only).
        """
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        self.folder.mkdir(parents=True, exist_ok=True)
        content = record.content
        run = wandb.init(
            mode=self.config.mode,
            project=self.config.project,
            entity=self.config.entity,
            id=record.id,
            name=run_name(content),
            group=sweep,
            tags=[content["preset"]["name"], content["pair"]["gender"], _training_tag(content)],
            config=flat_config(content),
            dir=str(self.folder),
            resume="allow" if self.config.mode == "online" else None,
            settings=wandb.Settings(console="off", disable_git=True, x_disable_stats=True, x_disable_machine_info=True),
        )
        try:
            values = {name: entry["value"] for name, entry in record.metrics.items() if entry["value"] is not None}
            values["seconds"] = content["timings_s"]["total"]
            run.log({**values, "video": wandb.Video(str(record.video_path), format="mp4")})
            reasons = {f"{n}_reason": e["reason"] for n, e in record.metrics.items() if e["value"] is None}
            run.summary.update(reasons)
        finally:
            run.finish()

    def close(self) -> None:
        """Ends wandb's service, which writes the files of runs behind the back of `finish`."""
        import wandb

        wandb.teardown()


def make_tracker(config: TrackerConfig, runs_dir: Path) -> Tracker:
    """The configured tracker."""
    return NoTracker() if config.kind == "none" else WandbTracker(config, runs_dir)


def run_name(content: dict) -> str:
    """`g-clara__g-clara g1.8 s20 seed1247`."""
    options = content["options"]
    return (
        f"{content['pair']['name']} g{options['guidance_scale']:g} s{options['num_inference_steps']} "
        f"seed{options['seed']}"
    )


def _training_tag(content: dict) -> str:
    return "trained" if content["model"]["trained"] else "untrained"


def flat_config(content: dict) -> dict:
    """The parts of a record that describe what was run, as one flat dict."""
    return {
        "pair": content["pair"]["name"],
        "gender": content["pair"]["gender"],
        "clip": content["pair"]["clip"]["name"],
        "voice": content["pair"]["voice"]["name"],
        "model": content["model"]["name"],
        "trained": content["model"]["trained"],
        "preset": content["preset"]["name"],
        "guidance_from": content["preset"]["guidance_from"],
        "attention": content["attention"],
        "video_frames": content["video"]["num_frames"],
        **content["options"],
    }
