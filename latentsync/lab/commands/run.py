"""One cell, or with `-m` and comma lists a sweep.

latentsync run data=folder data.input_dir=DIR sampler.guidance_scale=1.8 sampler.seed=1247
latentsync run -m data=folder data.input_dir=DIR sampler.guidance_scale=1.0,1.5,2.0
latentsync run -m data=folder data.input_dir=DIR sampler.guidance_scale=1.0,1.5,2.0 plan=true
latentsync run -m data=folder data.input_dir=DIR sampler.guidance_scale=1.0,1.5,2.0 preview=true
latentsync run experiment=quickstart
latentsync run --config-dir FOLDER experiment=MINE        (FOLDER/experiment/MINE.yaml)
"""

import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from latentsync.errors import LatentSyncError
from latentsync.lab.options import CONF_DIR
from latentsync.lab.options.compose import BASIC_LAUNCHER
from latentsync.lab.sweeps import plan, request


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="config")
def cell(config: DictConfig) -> None:
    """Runs the composed cell; failures are noted and told at the end, by `sweeps.sweep.SweepReport`."""
    from latentsync.lab.sweeps.sweep import running  # imports the networks' libraries; a plan does without them

    job = HydraConfig.get()
    running().run_cell(config, list(job.overrides.task), wait=job.launcher._target_ != BASIC_LAUNCHER)


def previewed(asked: request.Asked) -> int:
    """Shows a window of each cell; makes no record."""
    from latentsync.lab.sweeps.preview import preview

    return preview(asked)


def main(arguments: list[str] | None = None) -> int:
    """The command line: what can be answered from the plan is, and Hydra's jobs do the rest."""
    try:
        asked = request.read(sys.argv[1:])
        status = None if asked is None else previewed(asked) if asked.config.preview else plan.answer(asked)
    except LatentSyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, or a folder that cannot be written
        print(f"error: the sweep's plan could not be written ({error}); choose another runs_dir", file=sys.stderr)
        return 1
    if status is None:
        if asked is not None:
            from latentsync.lab.sweeps.sweep import start

            together = asked.is_sweep and asked.config.runtime.batch_cells != 1
            start(plan.runs_of(asked) if together else ())
        cell()  # which exits by itself where anything failed
        status = 0
        if asked is not None:
            plan.note_reported(asked)
    return status
