"""The outcome of one pair in one cell, and the line that reports it."""

from dataclasses import dataclass

from latentsync import journal
from latentsync.lab.options.schema import RunConfig
from latentsync.lab.records.labels import cell_label, settings_beside


@dataclass(frozen=True)
class Outcome:
    """The outcome of one pair in one cell.

    Attributes:
        status: "done" (made in this run), "cached" (finished earlier), "failed" (in this run), "skipped" (failed
            earlier and not tried again) or "taken" (another process is making it).
        record: the record's id; None if the pair failed before it had one.
        stage: the stage that failed: read, align, denoise, measure or store.
        reason, trace: why it failed; there is a trace only if the input is not to blame.
        runtime: the runtime options of a failure. No id covers them, but a change may help, such as another device
            with more memory.
        notes: in sentences, what a reader changed in the clip or the voice, such as the colours of HDR, and how many
            frames have no face.
        passes: whether a failure was the machine's and not the input's, such as a full disk or a vanished file. The
            same command tries it again; see `cells.passing`.
        num_inference_steps: None if they are the model's own and the pair failed before they were known.
        below_gate: of a folder job: why its result misses a bound of metrics.gate, a text for each.
        labels: how the sweep calls the pair and the origin of its guidance, see `records.content.labels_of`.
    """

    pair: str
    gender: str
    guidance_scale: float
    status: str
    record: str | None = None
    seconds: float = 0.0
    stage: str | None = None
    reason: str | None = None
    trace: str | None = None
    runtime: dict | None = None
    notes: tuple[str, ...] = ()
    passes: bool = False
    labels: dict | None = None
    num_inference_steps: int | None = None
    below_gate: tuple[str, ...] = ()


def note_outcome(outcome: Outcome) -> None:
    """Notes the end of a pair in the run's log."""
    failure = {name: value for name in ("stage", "reason") if (value := getattr(outcome, name)) is not None}
    facts = {"pair": outcome.pair, "record": outcome.record, "status": outcome.status}
    journal.note("pair", **facts, seconds=round(outcome.seconds, 3), **failure)


def outcome_line(outcome: Outcome, run: RunConfig) -> str:
    """The line that is printed when a pair ends."""
    options = run.options.flat() | {"guidance_scale": outcome.guidance_scale}
    options["num_inference_steps"] = outcome.num_inference_steps or options["num_inference_steps"]
    chosen = [
        name
        for name, info in settings_beside().items()
        if info.is_open and options[name] not in (info.default, info.record_default)
    ]
    cell = cell_label(options, also=chosen)
    end = {
        "done": f"done in {outcome.seconds:.1f} s",
        "cached": "cached, nothing to do",
        "failed": f"FAILED ({outcome.stage}): {outcome.reason}",
        "skipped": f"failed earlier, skipped: {outcome.reason}",
        "taken": "another process is making it",
    }[outcome.status]
    end += f", BELOW THE GATE: {'; '.join(outcome.below_gate)}" if outcome.below_gate else ""
    notes = f" ({'; '.join(outcome.notes)})" if outcome.notes and outcome.status in ("done", "cached") else ""
    return f"{cell:<34} {outcome.pair:<28} {end}{notes}"
