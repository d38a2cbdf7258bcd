"""One training, from its options to its exported weights. It continues where an earlier run stopped."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from latentsync.device import precision_text
from latentsync.errors import OptionError
from latentsync.files import find_json, write_bytes, write_json
from latentsync.lab.console import say, show
from latentsync.lab.training.options import FIXED, TrainConfig
from latentsync.lab.training.tracker import TrainingTracker
from latentsync.media import VideoWriter
from latentsync.training.ema import trained_weights
from latentsync.training.loop import TrainResult, device_of_process, last_step, precision_of, train
from latentsync.training.task import Task

CONFIG_FILE = "config.json"
PICTURES_DIR, VIDEOS_DIR = "pictures", "videos"


def make_task(config: TrainConfig) -> tuple[Task, Dataset, Dataset]:
    """The task of a training, and its training and validation set. Only this function maps kinds to modules."""
    match config.kind:
        case "vae":
            from latentsync.training.vae import make
        case "syncnet":
            from latentsync.training.syncnet import make
        case "unet_distill":
            from latentsync.training.distill import make
        case _:
            from latentsync.training.unet import make
    return make(dict(config.task), Path(config.data_dir), config.model_dir, config.loop.seed)


def run_training(config: TrainConfig) -> TrainResult:
    """Trains, logs to the folder and to the tracker, and prints the progress.

    Raises:
        LatentSyncError: the input or the configuration is wrong, or the loss is not finite.
    """
    folder = config.folder
    _same_training(config, find_json(folder / CONFIG_FILE))
    task, train_set, validation_set = make_task(config)
    is_main = int(os.environ.get("RANK", 0)) == 0
    if not is_main:
        return train(task, train_set, validation_set, config.loop, folder)
    for line in header(config, task, train_set, validation_set):
        say(line)
    write_json(folder / CONFIG_FILE, asdict(config))
    tracker = TrainingTracker(config)

    def log(step: int, values: dict[str, float]) -> None:
        say(log_line(step, config.loop.steps, values))
        tracker.log(step, values)

    def on_pictures(step: int, pictures: dict[str, np.ndarray]) -> None:
        save_pictures(folder / PICTURES_DIR, step, pictures)
        tracker.log_pictures(step, pictures)

    def on_videos(step: int, videos: dict[str, np.ndarray]) -> None:
        tracker.log_videos(step, save_videos(folder / VIDEOS_DIR, step, videos))

    try:
        result = train(task, train_set, validation_set, config.loop, folder, log, on_pictures, on_videos)
    finally:
        tracker.close()
    show(last_line(result, config))
    return result


def _same_training(config: TrainConfig, before: dict | None) -> None:
    """Refuses to continue a training of the same name that trains something else."""
    now = asdict(config)
    for key in FIXED if before is not None and last_step(config.folder) else ():
        if before.get(key) != now[key]:
            raise OptionError(
                f"{config.folder} has a training with {key} {before.get(key)}, but now it is {now[key]}; "
                f"give name=OTHER for another training"
            )


def header(config: TrainConfig, task: Task, train_set: Dataset, validation_set: Dataset | None) -> list[str]:
    """The lines that describe the training before it starts."""
    loop = config.loop
    networks = {name: network for name, network in task.networks().items() if trained_weights({name: network})}
    sizes = [f"{n} {sum(w.numel() for w in trained_weights({n: net}).values()):,}" for n, net in networks.items()]
    device, is_open = device_of_process(), loop.precision is None
    step, held_out = last_step(config.folder), 0 if validation_set is None else len(validation_set)
    batches = f"batches of {loop.batch_size}" + (f" x {loop.gradient_accumulation}" * (loop.gradient_accumulation > 1))
    return [
        f"trains     {config.kind}, weights: {', '.join(sizes)}",
        f"data       {config.data_dir}: {len(train_set)} items for training, {held_out} held out",
        f"steps      {loop.steps}, {batches}" + (f"; continues from step {step}" if step else ""),
        f"runs on    {device} in {precision_text(precision_of(loop), device, 'loop.precision', is_open)}",
        f"writes to  {config.folder}",
    ]


def log_line(step: int, steps: int, values: Mapping[str, float]) -> str:
    """One logged step as a line of text."""
    numbers = (f"{name} {value:.4g}" for name, value in values.items() if name not in ("epoch", "gradient_norm"))
    return f"step {step}/{steps}  " + "  ".join(numbers)


def last_line(result: TrainResult, config: TrainConfig) -> str:
    """The line that says how a training ended, and how to continue."""
    if not result.finished:
        return f"stopped after {result.minutes:.1f} min at step {result.step}; run the same command to continue"
    if result.started_at == result.step:
        return (
            f"all {result.step} steps are done already; raise loop.steps to continue, or give name=OTHER to begin anew"
        )
    return f"finished {result.step} steps; weights are in {result.weights}"


def save_pictures(folder: Path, step: int, pictures: Mapping[str, np.ndarray]) -> None:
    """Writes pictures (uint8, h w 3) as `step-00001000_NAME.png`."""
    import cv2

    for name, picture in pictures.items():
        _, png = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        write_bytes(folder / f"step-{step:08d}_{name}.png", png.tobytes())


def save_videos(folder: Path, step: int, videos: Mapping[str, np.ndarray]) -> dict[str, Path]:
    """Writes videos (uint8, f h w 3, 25 Hz) as `step-00001000_NAME.mp4`; name -> file."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / f"step-{step:08d}_{name}.mp4" for name in videos}
    for name, video in videos.items():
        with VideoWriter(
            files[name], video.shape[2], video.shape[1], comment=f"Synthetic: {name} of step {step}"
        ) as writer:
            for frame in video:
                writer.write(np.ascontiguousarray(frame))
    return files
