"""One cell, or with `-m` and comma lists a sweep.

python -m experiments.run data=folder data.input_dir=DIR sampler.guidance_scale=1.8 sampler.seed=1247
python -m experiments.run -m data=folder data.input_dir=DIR sampler.guidance_scale=1.0,1.5,2.0
python -m experiments.run -m data=folder data.input_dir=DIR sampler.guidance_scale=1.0,1.5,2.0 plan=true
python -m experiments.run -m data=folder data.input_dir=DIR sampler.guidance_scale=1.0,1.5,2.0 preview=true
python -m experiments.run experiment=quickstart
"""

import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from experiments import plan
from latentsync.errors import LatentSyncError


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def main(config: DictConfig) -> None:
    """Runs the composed cell; failures are noted and told at the end, by `experiments.sweep.SweepReport`."""
    from experiments.sweep import run_and_note  # with the networks' libraries, which the planner may do without

    job = HydraConfig.get()
    run_and_note(config, list(job.overrides.task), wait=job.launcher._target_ != plan.BASIC_LAUNCHER)


def previewed(asked: plan.Asked) -> int:
    """Shows a window of each cell; makes no record."""
    from experiments.preview import preview

    return preview(asked)


def command() -> int:
    """The command line: what can be answered from the plan is, and Hydra's jobs do the rest."""
    try:
        asked = plan.read(sys.argv[1:])
        status = None if asked is None else previewed(asked) if asked.config.preview else plan.answer(asked)
    except LatentSyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, or a folder that cannot be written
        print(f"error: the sweep's plan could not be written ({error}); choose another runs_dir", file=sys.stderr)
        return 1
    if status is None:
        if asked is not None and asked.is_sweep and asked.config.runtime.batch_cells != 1:
            from experiments.sweep import expect

            expect(plan.runs_of(asked))
        main()  # which exits by itself where anything failed
        status = 0
        if asked is not None:
            plan.note_reported(asked)
    return status


if __name__ == "__main__":
    sys.exit(command())
