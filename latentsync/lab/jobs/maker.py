"""A record like one that is there, made in a process of its own: its progress is heard, and it can be stopped.

That process keeps the model for the next record, and ends when nothing is asked of it for a while.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from latentsync.errors import LatentSyncError, OptionError
from latentsync.files import remove_abandoned
from latentsync.lab.options.compose import configured
from latentsync.lab.options.pairs import Pair
from latentsync.lab.records.store import Record, RecordStore

if TYPE_CHECKING:
    from latentsync.lab.options.schema import MetricsConfig, RunConfig

Progress = Callable[[str, int, int], None]
IDLE_S = 300.0  # until a process that nothing is asked of ends, and gives back its memory
GRACE_S = 5.0  # for a process to tidy up before it is killed
MODEL_CHOICES = ("mini", "latentsync_1_0", "latentsync_1_5", "latentsync_1_6")


@dataclass(frozen=True)
class Job:
    """A record to be made: the cell, the pair, and the weights that it must be made with."""

    config: "RunConfig"
    pair: Pair
    weights_sha256: dict[str, str]


@dataclass(frozen=True)
class Answer:
    """What became of a job.

    Attributes:
        record: id; None where there is none.
        reason: of a failure.
        is_cancelled: whether it was stopped on request.
    """

    record: str | None = None
    reason: str | None = None
    is_cancelled: bool = False


def job_like(
    record: Record,
    guidance_scale: float,
    num_inference_steps: int,
    seed: int,
    model: str = "mini",
    overrides: Sequence[str] = (),
    inputs: Path | None = None,
) -> Job:
    """A job with the clip, voice and options of a record, the same metrics, and other settings of the sampler.

    Args:
        model: a choice of `conf/model`, or a model's folder; it must be what made the record.
        overrides: of the configuration beside that, such as `runtime.device=cuda`.
        inputs: where clips and voices are that have been moved since.

    Raises:
        OptionError: a setting or override is not allowed.
        MediaError: the clip or the voice is not to be found.
    """
    from latentsync.lab.options.schema import options_like, read_config
    from latentsync.lab.records.inputs import input_file

    content, options = record.content, record.content["options"]
    model_choice = [f"model={model}" if model in MODEL_CHOICES else f"model.pretrained={Path(model).resolve()}"]
    runs_dir = record.folder.parents[1].resolve()
    run = read_config(configured([*model_choice, f"runs_dir={runs_dir}", "name=explorer", "tracker=none", *overrides]))
    changed = {"guidance_scale": guidance_scale, "num_inference_steps": num_inference_steps, "seed": seed}
    known = {"attention": content["attention"], **options, **changed}
    config = replace(
        run,
        options=options_like(known, run.options.runtime),
        metrics=_metrics_of(record),
    )
    pair = content["pair"]
    files = (input_file(record, kind, inputs) for kind in ("clip", "voice"))
    weights = content["model"]["weights_sha256"]
    return Job(config, Pair(*files, pair["gender"], pair.get("group"), pair.get("split")), weights)


def _metrics_of(record: Record) -> "MetricsConfig":
    """The families that a record was measured by."""
    from latentsync.lab.options.schema import MetricsConfig
    from latentsync.metrics.definitions import DEFINITIONS, base_name

    names = [base_name(name) for name in record.metrics]
    families = {DEFINITIONS[name].family for name in names if name in DEFINITIONS}
    return MetricsConfig.of(families, controls=any(name.endswith("_shuffled") for name in record.metrics))


class Maker:
    """Makes records one after the other in a process of its own."""

    def __init__(self) -> None:
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None
        self._began = self._is_cancelled = False

    def make(self, job: Job, on_progress: Progress) -> Answer:
        """Makes a record, or finds it; returns when it is there, has failed, or was cancelled from another thread.

        Args:
            on_progress: called as (stage, done, total); total is 0 where a stage has no units.
        """
        self._began = self._is_cancelled = False
        on_progress("start", 0, 0)
        for _ in range(2):  # a process that has just ended for idleness is started anew
            self._start()
            try:
                self._pipe.send(job)
                break
            except OSError:
                self.close()
        try:
            while not isinstance(message := self._pipe.recv(), Answer):
                self._began = True
                on_progress(*message)
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode
            self.close()
            if self._is_cancelled:
                remove_abandoned(RecordStore(job.config.runs_dir).root)
                return Answer(is_cancelled=True)
            remedy = (
                "it may have run out of memory" if code == -signal.SIGKILL else "the server's log has its last words"
            )
            return Answer(reason=f"the process that makes it ended with status {code}; {remedy}")
        return message

    def cancel(self) -> None:
        """Stops what is being made; the store keeps nothing of it."""
        process, self._is_cancelled = self._process, True
        if process is None or not process.is_alive():
            return
        if self._began:
            os.kill(process.pid, signal.SIGINT)  # so that it removes what it has written
            process.join(GRACE_S)
        process.kill()

    def close(self) -> None:
        """Ends the process; the next record starts another one."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
        self._process = self._pipe = None

    def _start(self) -> None:
        if self._process is not None and self._process.is_alive():
            return
        self.close()
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()


def _serve(pipe: Connection) -> None:
    """Answers jobs until none comes any more; the other end tells when it is to stop by an interrupt."""
    os.setsid()  # an interrupt of the notebook's kernel is not one of the record
    try:
        while pipe.poll(IDLE_S):
            pipe.send(_answer(pipe.recv(), lambda *progress: pipe.send(progress)))
    except (EOFError, OSError, KeyboardInterrupt):
        return


def _answer(job: Job, on_progress: Progress) -> Answer:
    try:
        from latentsync.lab.cells.cell import run_cell
        from latentsync.lab.cells.loading import pipeline_of
        from latentsync.lab.console import listening

        on_progress("load", 0, 0)
        pipeline = pipeline_of(job.config)
        if pipeline.weight_hashes != job.weights_sha256:
            raise OptionError(
                f"model {pipeline.settings.name} has other weights than those that made the records shown; "
                f"give their model to Explorer(model=...)"
            )
        with listening(on_progress):
            (outcome,) = run_cell(job.config, (job.pair,), lambda outcome: None)
    except LatentSyncError as error:
        return Answer(reason=str(error))
    except Exception as error:  # whatever it is, the one who asked must hear of it
        return Answer(reason=f"{type(error).__name__}: {error}")
    if outcome.status == "failed":
        return Answer(reason=f"{outcome.stage}: {outcome.reason}")
    return Answer(outcome.record)
