"""Run one cell, or a sweep with -m.

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

from latentsync.lab.console import CONTINUES, MISUSED, command, refuse_unknown_option
from latentsync.lab.options import CONF_DIR
from latentsync.lab.options.compose import BASIC_LAUNCHER, asks_help, option_names


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="config")
def cell(config: DictConfig) -> None:
    """Runs the composed cell. `sweeps.sweep.SweepReport` lists its failures at the end."""
    from latentsync.lab.sweeps.sweep import running  # imports the networks' libraries, which a plan does not need

    job = HydraConfig.get()
    running().run_cell(config, list(job.overrides.task), wait=job.launcher._target_ != BASIC_LAUNCHER)


@command(error_status=MISUSED, interrupted=CONTINUES)
def main(arguments: list[str] | None = None) -> int:
    """The command line. It answers from the plan if it can; otherwise Hydra runs the jobs."""
    arguments = sys.argv[1:] if arguments is None else arguments
    sys.argv = ["latentsync run", *arguments]  # which Hydra reads
    refuse_unknown_option(arguments, option_names())
    if asks_help(arguments):
        print(__doc__)
        cell()
        return 0
    from latentsync.lab.sweeps import plan, request

    sweep_request = request.read(arguments)
    if sweep_request is not None:
        if sweep_request.config.preview:
            from latentsync.lab.sweeps.preview import preview

            return preview(sweep_request)
        if (status := plan.answer(sweep_request)) is not None:
            return status
        from latentsync.lab.sweeps.sweep import start

        together = sweep_request.is_sweep and sweep_request.config.runtime.batch_cells != 1
        start(plan.runs_of(sweep_request) if together else ())
    cell()  # exits by itself if anything failed
    if sweep_request is not None:
        plan.note_reported(sweep_request)
    return 0
