"""Run one cell, or a sweep with -m.

latentsync run data=folder data.input_dir=DIR sampler.guidance_scale=1.8 sampler.seed=1247
latentsync run -m data=folder data.input_dir=DIR sampler.guidance_scale=1.0,1.5,2.0
latentsync run -m data=folder data.input_dir=DIR sampler.guidance_scale=1.0,1.5,2.0 plan=true
latentsync run -m data=folder data.input_dir=DIR sampler.guidance_scale=1.0,1.5,2.0 preview=true
latentsync run experiment=quickstart
latentsync run from=ID sampler.guidance_scale=1.3         (a record's pair, model and options, with this change)
latentsync run --config-dir FOLDER experiment=MINE        (FOLDER/experiment/MINE.yaml)

The exit status is 0, 1 if a pair failed, 2 if the command line is wrong (then nothing is stored), or 3 if a record
misses a bound of metrics.gate.
"""

import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from latentsync.lab.console import CONTINUES, asks_help, command, complaints, say, show, take_verbosity
from latentsync.lab.options import CONF_DIR
from latentsync.lab.options.compose import BASIC_LAUNCHER, RUN
from latentsync.lab.options.sources import begin, raising
from latentsync.processes import run_task

LOADING = "loading libraries and the model, which takes longer after a start of the machine"


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="config")
def cell(config: DictConfig) -> float | None:
    """Runs the composed cell and returns its objective, if it has one. `sweeps.sweep.SweepReport` lists its failures
    at the end."""
    from latentsync.lab.sweeps.sweep import running  # imports the networks' libraries, which a plan does not need

    job = HydraConfig.get()
    wait = job.launcher._target_ != BASIC_LAUNCHER
    return run_task(running().run_cell, config, list(job.overrides.task), wait=wait)


@command(interrupted=CONTINUES)
def main(arguments: list[str] | None = None) -> int:
    """The command line. It answers from the plan if it can; otherwise Hydra runs the jobs."""
    arguments, origin = sys.argv[1:] if arguments is None else list(arguments), None
    if not asks_help(arguments) and any(argument.startswith("from=") for argument in arguments):
        from latentsync.lab.jobs.origin import origin_of

        origin = origin_of(take_verbosity(arguments))
        arguments = origin.arguments
    arguments = begin("run", arguments, RUN.texts)
    if asks_help(arguments):
        from latentsync.lab.options.reference import run_help

        show(__doc__)
        show(run_help(arguments))
        return 0
    from latentsync.lab.sweeps import plan, request
    from latentsync.runtime import apply_runtime

    sweep_request = request.read(arguments)
    if sweep_request is not None:
        apply_runtime(*(run.options.runtime for run in sweep_request.runs))
        if origin is not None:
            say(f"from record {origin.record.id}")
            say(LOADING)
            origin.require_weights(sweep_request.runs[0])
        if sweep_request.general.preview:
            from latentsync.lab.sweeps.preview import preview

            return preview(sweep_request)
        if (status := plan.answer(sweep_request, lambda: None if origin else say(LOADING))) is not None:
            return status
        from latentsync.lab.sweeps.sweep import start

        if sweep_request.wants_batches and not sweep_request.siblings:
            say("runtime.batch_cells acts in a sweep of one process; here each worker makes its cells one by one")
        cells = sweep_request.cells if sweep_request.is_listed else ()
        start(sweep_request.siblings, cells, sweep_request.sweep_dir)
    with raising(), complaints() as left_out:
        cell()  # exits by itself if anything failed
    if sweep_request is not None and not left_out:
        plan.note_reported(sweep_request)
    return 0
