"""Trains one network on a folder of aligned clips, or goes on with a training that was stopped or killed.

python -m experiments.train train=vae data_dir=DIR
python -m experiments.train train=unet_stage1 data_dir=DIR model_dir=DIR loop.steps=50000 loop.max_minutes=55
accelerate launch --num_processes 4 -m experiments.train train=unet_stage2 data_dir=DIR name=big

runs/training/<name>/  weights/  checkpoints/  log.jsonl  pictures/  videos/  config.json
"""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import hydra
import numpy as np
from hydra import compose
from omegaconf import MISSING as NOT_GIVEN
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch.utils.data import Dataset

from experiments import CONF_DIR
from experiments.cell import say
from experiments.compose import composing
from experiments.record import read_json, write_json
from experiments.schema import TrackerConfig
from latentsync.errors import LatentSyncError, OptionError
from latentsync.media import VideoWriter
from latentsync.training.ema import trained_weights
from latentsync.training.loop import LoopOptions, Task, TrainResult, last_step, train

KINDS = ("vae", "syncnet", "unet_stage1", "unet_stage2")
CONFIG_FILE = "config.json"
PICTURES_DIR, VIDEOS_DIR = "pictures", "videos"
FIXED = ("kind", "model_dir", "task")  # what a training that goes on has in common with its beginning
INTERRUPTED = 130  # the exit status of a program that Ctrl-C ended


@dataclass(frozen=True)
class TrainConfig:
    """Everything that `python -m experiments.train` was told.

    Attributes:
        kind: what is trained.
        task: the task's own keys, which it checks itself.
    """

    kind: str = NOT_GIVEN
    data_dir: str = NOT_GIVEN
    model_dir: str = "mini"
    runs_dir: str = "runs"
    name: str = NOT_GIVEN
    loop: LoopOptions = field(default_factory=LoopOptions)
    task: dict[str, Any] = field(default_factory=dict)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise OptionError(f"kind is {self.kind!r}; choose one of {', '.join(KINDS)}")
        if not self.name or self.name != Path(self.name).name or self.name.startswith("."):
            raise OptionError(f"name is {self.name!r}; give a plain folder name, without slashes and leading dots")

    @property
    def folder(self) -> Path:
        return Path(self.runs_dir) / "training" / self.name


def read_config(config: DictConfig) -> TrainConfig:
    """The composed configuration as checked dataclasses.

    Raises:
        OptionError: a key is unknown, or a value is missing, of the wrong type or out of range.
    """
    schema = OmegaConf.structured(TrainConfig)
    for section in (schema, schema.loop, schema.tracker):
        OmegaConf.set_readonly(section, False)
    try:
        for key in sorted(OmegaConf.missing_keys(config)):
            raise OptionError(f"{key} is not given; add {key}=VALUE")
        return OmegaConf.to_object(OmegaConf.merge(schema, config))
    except OmegaConfBaseException as error:
        raise OptionError(f"{error.full_key or error.key}: {str(error).splitlines()[0]}") from error


def configure(overrides: list[str]) -> TrainConfig:
    """The configuration that the command line and `conf/` come to.

    Raises:
        OptionError: an override is unknown, missing or out of range.
    """
    with composing("train"):
        composed = compose("train_config", overrides=overrides)
    return read_config(composed)


def make_task(config: TrainConfig) -> tuple[Task, Dataset, Dataset]:
    """What is trained, and its training and validation set; the one place that knows which module makes which."""
    match config.kind:
        case "vae":
            from latentsync.training.vae import make
        case "syncnet":
            from latentsync.training.syncnet import make
        case _:
            from latentsync.training.unet import make
    return make(dict(config.task), Path(config.data_dir), config.model_dir, config.loop.seed)


def run_training(config: TrainConfig) -> TrainResult:
    """Trains, logs to the folder and to the tracker, and tells what goes on.

    Raises:
        LatentSyncError: the input or the set-up is not fit, or the loss is no number.
    """
    folder = config.folder
    _same_training(config, read_json(folder / CONFIG_FILE))
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
    say(last_line(result, config))
    return result


def _same_training(config: TrainConfig, before: dict | None) -> None:
    """Refuses to go on with another network's training under the same name."""
    now = asdict(config)
    for key in FIXED if before is not None and last_step(config.folder) else ():
        if before.get(key) != now[key]:
            raise OptionError(
                f"{config.folder} holds a training with {key} {before.get(key)}, and now it is {now[key]}; "
                f"give name=OTHER for another training"
            )


def header(config: TrainConfig, task: Task, train_set: Dataset, validation_set: Dataset | None) -> list[str]:
    """What is about to run, line by line."""
    loop = config.loop
    networks = {name: network for name, network in task.networks().items() if trained_weights({name: network})}
    sizes = [f"{n} {sum(w.numel() for w in trained_weights({n: net}).values()):,}" for n, net in networks.items()]
    step, held_out = last_step(config.folder), 0 if validation_set is None else len(validation_set)
    batches = f"batches of {loop.batch_size}" + (f" x {loop.gradient_accumulation}" * (loop.gradient_accumulation > 1))
    return [
        f"trains     {config.kind}, weights: {', '.join(sizes)}",
        f"data       {config.data_dir}: {len(train_set)} items to learn from, {held_out} held out",
        f"steps      {loop.steps}, {batches} in {loop.precision}" + (f"; goes on from step {step}" if step else ""),
        f"writes to  {config.folder}",
    ]


def log_line(step: int, steps: int, values: Mapping[str, float]) -> str:
    """One logged step as people read it."""
    numbers = (f"{name} {value:.4g}" for name, value in values.items() if name not in ("epoch", "gradient_norm"))
    return f"step {step}/{steps}  " + "  ".join(numbers)


def last_line(result: TrainResult, config: TrainConfig) -> str:
    """How a training ended, and how to go on."""
    if not result.finished:
        return f"stopped after {result.minutes:.1f} min at step {result.step}; the same command goes on from there"
    if result.started_at == result.step:
        return f"all {result.step} steps were made before; raise loop.steps to go on, or give name=OTHER to begin anew"
    return f"finished {result.step} steps; weights are in {result.weights}"


def save_pictures(folder: Path, step: int, pictures: Mapping[str, np.ndarray]) -> None:
    """Writes pictures (uint8, h w 3) as `step-00001000_NAME.png`."""
    import cv2

    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures.items():
        cv2.imwrite(str(folder / f"step-{step:08d}_{name}.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


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


class TrainingTracker:
    """A Weights & Biases run for each start of a training, grouped by its name; what fails there stops nothing.

    A run for each start, since W&B takes no step twice, and a killed run has told of steps that are made again.
    """

    def __init__(self, config: TrainConfig) -> None:
        self._run = None
        if config.tracker.kind == "wandb":
            self._try(lambda: self._begin(config))

    def _begin(self, config: TrainConfig) -> None:
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        self._run = wandb.init(
            mode=config.tracker.mode,
            project=config.tracker.project,
            entity=config.tracker.entity,
            name=f"{config.name} from step {last_step(config.folder)}",
            group=config.name,
            job_type="train",
            tags=[config.kind],
            config=asdict(config),
            dir=config.runs_dir,
            settings=wandb.Settings(console="off", disable_git=True, x_disable_stats=True, x_disable_machine_info=True),
        )

    def _try(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except Exception as error:  # whatever a tracker raises, the training goes on
            self._run = None
            print(f"the tracker stopped, {type(error).__name__}: {error}; the folder has everything", file=sys.stderr)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """The figures of a step."""
        if self._run is not None:
            self._try(lambda: self._run.log(dict(values), step=step))

    def log_pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Pictures (uint8, h w 3) of a step."""
        if self._run is not None:
            self._try(lambda: self._run.log(_wandb_images(pictures), step=step))

    def log_videos(self, step: int, files: Mapping[str, Path]) -> None:
        """Video files of a step."""
        if self._run is not None:
            self._try(lambda: self._run.log(_wandb_videos(files), step=step))

    def close(self) -> None:
        """Ends the run; its files are written when this returns."""
        if self._run is not None:
            self._try(self._end)

    def _end(self) -> None:
        import wandb

        self._run.finish()
        wandb.teardown()  # its service writes the files behind the back of `finish`


def _wandb_images(pictures: Mapping[str, np.ndarray]) -> dict[str, Any]:
    import wandb

    return {f"pictures/{name}": wandb.Image(picture) for name, picture in pictures.items()}


def _wandb_videos(files: Mapping[str, Path]) -> dict[str, Any]:
    import wandb

    return {f"videos/{name}": wandb.Video(str(path), format="mp4") for name, path in files.items()}


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="train_config")
def main(config: DictConfig) -> None:
    """The command line."""
    try:
        run_training(read_config(config))
    except LatentSyncError as error:
        raise SystemExit(f"error: {error}") from error
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None


if __name__ == "__main__":
    main()
