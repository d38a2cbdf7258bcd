"""Trains one network on a folder of aligned clips, or goes on with a training that was stopped or killed.

latentsync train train=vae data_dir=DIR
latentsync train train=unet_stage1 data_dir=DIR model_dir=DIR loop.steps=50000 loop.max_minutes=55
accelerate launch --num_processes 4 -m latentsync train train=unet_stage2 data_dir=DIR name=big

runs/training/<name>/  weights/  checkpoints/  log.jsonl  pictures/  videos/  config.json
"""

import sys

import hydra
from omegaconf import DictConfig

from latentsync.errors import LatentSyncError
from latentsync.lab.options import CONF_DIR
from latentsync.lab.training.job import INTERRUPTED, run_training
from latentsync.lab.training.options import read_config


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="train_config")
def run(config: DictConfig) -> None:
    """One training of the composed configuration."""
    try:
        run_training(read_config(config))
    except LatentSyncError as error:
        raise SystemExit(f"error: {error}") from error
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None


def main(arguments: list[str] | None = None) -> None:
    """The command line, which Hydra reads."""
    run()
