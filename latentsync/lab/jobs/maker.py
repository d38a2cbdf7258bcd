"""Makes a record similar to an existing one in a separate process, which reports progress and can be stopped.

The process keeps the model in memory for the next record, and ends after some time without a job.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentsync.errors import LatentSyncError, OptionError
from latentsync.files import remove_abandoned
from latentsync.lab.options.compose import configured
from latentsync.lab.options.pairs import Pair
from latentsync.lab.records.store import Record, RecordStore
from latentsync.processes import end_with, stoppable

if TYPE_CHECKING:
    from latentsync.lab.options.schema import MetricsConfig, RunConfig

Progress = Callable[[str, int, int], None]
IDLE_S = 300.0  # a process without a job ends after this time and frees its memory
GRACE_S = 5.0  # time for a process to clean up before it is killed
MODEL_CHOICES = ("mini", "mini_256", "latentsync_1_0", "latentsync_1_5", "latentsync_1_6")


@dataclass(frozen=True)
class Job:
    """A record to make: the cell, the pair, and the weights that the model must have."""

    config: "RunConfig"
    pair: Pair
    weights_sha256: dict[str, str]


@dataclass(frozen=True)
class Answer:
    """The end of a job.

    Attributes:
        record: the record's id; None if there is none.
        reason: why the job failed.
        is_cancelled: whether the job was stopped on request.
    """

    record: str | None = None
    reason: str | None = None
    is_cancelled: bool = False


def setting_of(name: str, text: float | str) -> float | int:
    """A setting of the sampler as a number of its option's type.

    Raises:
        OptionError: it is not a number, or it is not allowed.
    """
    from latentsync.config import SamplerOptions

    kind = float if name == "guidance_scale" else int
    try:
        value = kind(text)
    except (ValueError, TypeError, OverflowError):
        raise OptionError(f"{name} is {text!r}; give a {'number' if kind is float else 'whole number'}") from None
    return getattr(SamplerOptions(**{name: value}), name)


def shipped_model(content: Mapping[str, Any]) -> str:
    """The name of the model that a record's content names, if it is a shipped one.

    Raises:
        OptionError: it is not.
    """
    from latentsync.checkpoints.model import INDEX_FILE, model_folder

    name = content["model"]["name"]
    if not (model_folder(name) / INDEX_FILE).is_file():
        raise OptionError(f"the model {name} of record {content['id']} is none of the shipped ones; say where it is")
    return name


def job_like(
    record: Record,
    guidance_scale: float,
    num_inference_steps: int,
    seed: int,
    model: str | None = None,
    overrides: Sequence[str] = (),
    inputs: Path | None = None,
) -> Job:
    """A job with the clip, voice, options and metrics of a record, but other settings of the sampler.

    Args:
        model: a choice of `conf/model`, or a model's folder; it must be the model of the record. None takes the shipped
            model that the record names.
        overrides: other overrides of the configuration, such as `runtime.device=cuda`.
        inputs: a folder with clips and voices that were moved since; None if none was moved.

    Raises:
        OptionError: a setting or override is not allowed, or no model is named and the record's is none of the shipped.
        MediaError: the clip or the voice is missing.
    """
    from latentsync.lab.options.schema import options_like, read_config
    from latentsync.lab.records.inputs import input_file

    content, options = record.content, record.content["options"]
    runs_dir = record.runs_dir.resolve()
    chosen = _model_override(shipped_model(content) if model is None else model)
    run = read_config(configured([chosen, f"runs_dir={runs_dir}", "name=explorer", "tracker=none", *overrides]))
    changed = {"guidance_scale": guidance_scale, "num_inference_steps": num_inference_steps, "seed": seed}
    known = {"attention": content["attention"], **options, **changed}
    config = replace(
        run,
        options=options_like(known, run.options.runtime),
        metrics=_metrics_of(record),
    )
    pair = content["pair"]
    files = (input_file(record, kind, inputs) for kind in ("clip", "voice"))
    if (weights := content["model"].get("weights_sha256")) is None:
        raise OptionError(f"record {record.id} does not say its model's weights; choose another record as the pattern")
    own = pair.get("group"), pair.get("split"), pair["name"], pair.get("face")
    return Job(config, Pair(*files, pair["gender"], *own), weights)


def _model_override(model: str) -> str:
    """The override that chooses a model: a choice of `conf/model`, a shipped model's name, or a folder."""
    from latentsync.checkpoints.model import MODELS_DIR, model_folder

    if model in MODEL_CHOICES:
        return f"model={model}"
    folder = model_folder(model)
    return f"model.pretrained={model if folder.parent == MODELS_DIR else folder.resolve()}"


def _metrics_of(record: Record) -> "MetricsConfig":
    """The families of a record's metrics."""
    from latentsync.lab.options.schema import MetricsConfig
    from latentsync.metrics.definitions import DEFINITIONS, base_name

    names = [base_name(name) for name in record.metrics]
    families = {DEFINITIONS[name].family for name in names if name in DEFINITIONS}
    return MetricsConfig.of(families, controls=any(name.endswith("_shuffled") for name in record.metrics))


class Maker:
    """Makes records one after the other in a separate process."""

    def __init__(self) -> None:
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None
        self._began = self._is_cancelled = False

    def make(self, job: Job, on_progress: Progress) -> Answer:
        """Makes a record, or reuses it if it exists. Returns when the job is finished, has failed or was cancelled.

        Args:
            on_progress: called with (stage, done, total); total is 0 for a stage without a count.
        """
        self._began = self._is_cancelled = False
        on_progress("start", 0, 0)
        for _ in range(2):  # a process that has just ended because it was idle is started again
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
                "it may have run out of memory" if code == -signal.SIGKILL else "see its last lines in the server's log"
            )
            return Answer(reason=f"the process that made the record ended with status {code}; {remedy}")
        return message

    def cancel(self) -> None:
        """Stops the current job. The store keeps nothing of its record."""
        process, self._is_cancelled = self._process, True
        if process is None or not process.is_alive():
            return
        if self._began:
            os.kill(process.pid, signal.SIGINT)  # so that it removes what it has written
            process.join(GRACE_S)
        process.kill()

    def close(self) -> None:
        """Ends the process. The next job starts a new one."""
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
        self._process = context.Process(target=_serve, args=(theirs, os.getpid()), daemon=True)
        self._process.start()
        theirs.close()


def _serve(pipe: Connection, parent: int) -> None:
    """Answers jobs until the idle time is over, or the parent has ended. The other end stops a job by an interrupt."""
    os.setsid()  # so that an interrupt of the notebook's kernel does not stop the record
    end_with(parent)
    try:
        with stoppable():
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
                f"model {pipeline.settings.name} has other weights than the model of the shown records; "
                f"give their model to Explorer(model=...) or to latentsync view --model"
            )
        with listening(on_progress):
            (outcome,) = run_cell(job.config, (job.pair,), lambda outcome: None)
    except LatentSyncError as error:
        return Answer(reason=str(error))
    except Exception as error:  # the caller must learn of any error
        return Answer(reason=f"{type(error).__name__}: {error}")
    if outcome.status == "failed":
        return Answer(reason=f"{outcome.stage}: {outcome.reason}")
    return Answer(outcome.record)
