"""Train one network on aligned clips, or continue a training.

latentsync train train=vae data_dir=DIR
latentsync train train=unet_stage1 data_dir=DIR model_dir=DIR loop.steps=50000 loop.max_minutes=55
accelerate launch --num_processes 4 -m latentsync train train=unet_stage2 data_dir=DIR name=big

If a training was stopped or killed, run the same command again: it continues from the last checkpoint.

runs/training/<name>/  weights/  checkpoints/  log.jsonl  pictures/  videos/  config.json
"""

import sys

import hydra
from omegaconf import DictConfig

from latentsync.lab.console import CONTINUES, command, refuse_unknown_option
from latentsync.lab.options import CONF_DIR
from latentsync.lab.options.compose import asks_help, option_names


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="train_config")
def job(config: DictConfig) -> None:
    """One training of the composed configuration."""
    if status := train(config):
        raise SystemExit(status)


@command(interrupted=CONTINUES)
def train(config: DictConfig) -> None:
    """Trains, and ends with a message after an error; Hydra would print a traceback."""
    from latentsync.lab.training.job import run_training
    from latentsync.lab.training.options import read_config

    run_training(read_config(config))


@command()
def main(arguments: list[str] | None = None) -> int:
    """The command line, which Hydra reads."""
    arguments = sys.argv[1:] if arguments is None else arguments
    sys.argv = ["latentsync train", *arguments]  # which Hydra reads
    refuse_unknown_option(arguments, option_names())
    if asks_help(arguments):
        print(__doc__)
        if not any(argument.startswith("train=") for argument in arguments):
            sys.argv.append("train=vae")  # Hydra must compose a configuration to show it; any training will do
    elif not any(argument.startswith("-") for argument in arguments):
        from latentsync.lab.training.options import configure

        configure(arguments)  # before Hydra, which would explain a mistake in several lines
    job()
    return 0
