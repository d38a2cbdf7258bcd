"""Train one network on aligned clips, or continue a training.

latentsync train train=vae data_dir=DIR
latentsync train train=unet_stage1 data_dir=DIR model_dir=DIR loop.steps=50000 loop.max_minutes=55
accelerate launch --num_processes 4 -m latentsync train train=unet_stage2 data_dir=DIR name=big

If a training was stopped or killed, run the same command again: it continues from the last checkpoint.

runs/training/<name>/  weights/  checkpoints/  log.jsonl  pictures/  videos/  config.json

The exit status is 0, 1 if the training failed, or 2 if the command line is wrong.
"""

import hydra
from omegaconf import DictConfig

from latentsync.errors import MemoryShortageError
from latentsync.lab.console import CONTINUES, FAILED, asks_help, command, show, warn
from latentsync.lab.options import CONF_DIR
from latentsync.lab.options.sources import begin, raising


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="train_config")
def job(config: DictConfig) -> None:
    """One training of the composed configuration."""
    if status := train(config):
        raise SystemExit(status)


@command(interrupted=CONTINUES)
def train(config: DictConfig) -> int | None:
    """Trains, and ends with a message after an error; Hydra would print a traceback."""
    from latentsync.lab.training.job import run_training
    from latentsync.lab.training.options import read_config
    from latentsync.training.loop import DivergedError

    try:
        run_training(read_config(config))
    except (DivergedError, MemoryShortageError) as error:
        warn(f"error: {error}")
        return FAILED


@command()
def main(arguments: list[str] | None = None) -> int:
    """The command line, which Hydra reads."""
    from latentsync.lab.training.options import TRAIN, check_request

    arguments = begin("train", arguments, TRAIN.texts)
    if asks_help(arguments):
        from latentsync.lab.options.reference import train_help

        show(__doc__)
        show(train_help(arguments))
        return 0
    check_request(arguments)  # before Hydra, which would explain a mistake in several lines
    with raising():
        job()
    return 0
