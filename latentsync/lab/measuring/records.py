"""Metrics of finished records: finds the missing ones, measures them, and shows them as a table."""

import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from latentsync.config import recorded_options
from latentsync.errors import LatentSyncError, OptionError, sentence_of
from latentsync.faces.landmarks import LandmarkDetector, MediaPipeLandmarks
from latentsync.lab.console import paragraph, say, show, table_text
from latentsync.lab.measuring.result import Result, labelled, measured
from latentsync.lab.options.schema import MetricsConfig, metric_sets
from latentsync.lab.records.claims import lock_notice
from latentsync.lab.records.inputs import input_file
from latentsync.lab.records.labels import missing_lines, word_of
from latentsync.lab.records.store import Record, RecordStore
from latentsync.lab.records.sweeps import records_in
from latentsync.metrics.definitions import DEFINITIONS, FAMILIES, base_name


def wanted_of(names: str, controls: bool = False) -> MetricsConfig:
    """The metrics of a set (quick, standard, full) or of families.

    Args:
        names: names separated by commas.
        controls: whether to measure sync also with wrong voices, which must score low.

    Raises:
        OptionError: a name is unknown.
    """
    parts = [name.strip() for name in names.split(",") if name.strip()]
    chosen = [family for name in parts for family in metric_sets().get(name, (name,))]
    if (unknown := sorted(set(chosen) - set(FAMILIES))) or not chosen:
        raise OptionError(
            f"--metrics names {', '.join(unknown) or 'nothing'}; choose {', '.join(metric_sets())}, or some of "
            f"{', '.join(FAMILIES)}"
        )
    return MetricsConfig.of(chosen, controls)


def lacking(record: Record, wanted: MetricsConfig) -> MetricsConfig:
    """The wanted metrics that a record does not have, or has from an older protocol."""
    has = {(base_name(name), entry.get("version")) for name, entry in record.metrics.items()}
    missing = {known.family for name, known in DEFINITIONS.items() if (name, known.version) not in has}
    if wanted.controls and not any(name.endswith("_shuffled") for name in record.metrics):
        return wanted
    return MetricsConfig.of([family for family in wanted.families if family in missing], wanted.controls)


def measure_record(
    record: Record, wanted: MetricsConfig, detector: LandmarkDetector, inputs: Path | None = None
) -> dict[str, dict]:
    """Measures a record, adds the new values to its metrics, and returns the new entries.

    The values are added under the record's claim to those that are there then, see `RecordStore.merge_measured`.

    Raises:
        MediaError, FaceNotFoundError: an input is missing, cannot be read, or shows no face.
        OSError: a file of the record cannot be read or written; earlier values stay.
    """
    clip, voice = (input_file(record, kind, inputs) for kind in ("clip", "voice"))
    options = recorded_options(record.content["options"])
    result = Result.of_options(record.video_path, clip, voice, options, detector)
    evaluation = measured(result, wanted, detector)
    entries = labelled(evaluation.entries, record.content["model"]["trained"])
    RecordStore(record.runs_dir).merge_measured(record, entries, evaluation.curves)
    return entries


def measure_records(
    records: Sequence[Record],
    wanted: MetricsConfig,
    detector: LandmarkDetector,
    inputs: Path | None = None,
    again: bool = False,
) -> int:
    """Measures records one by one and prints a line for each. Each record is written as soon as it is measured.

    Args:
        inputs: a folder with clips and voices that were moved since; None if none was moved.
        again: whether to measure again what a record already has.

    Returns:
        How many could not be measured.
    """
    failed = 0
    missing: list[tuple[str, str]] = []
    if records and (notice := lock_notice(records[0].folder.parent)) is not None:
        say(notice)
    for number, record in enumerate(records, start=1):
        start, label = time.perf_counter(), f"[{number}/{len(records)}] {record.id} {record.content['pair']['name']}"
        try:
            lacked = wanted if again else lacking(record, wanted)
            if not lacked.families:
                say(f"{label}: has all metrics")
                continue
            entries = measure_record(record, lacked, detector, inputs)
        except (LatentSyncError, OSError) as error:
            failed += 1
            show(f"{label}: FAILED  {sentence_of(error)}")
            continue
        missing += [(name, entry["reason"]) for name, entry in entries.items() if entry["value"] is None]
        values = sum(entry["value"] is not None for entry in entries.values())
        say(f"{label}: {values} values, {len(entries) - values} missing, {time.perf_counter() - start:.1f} s")
    for line in missing_lines(missing):
        show(paragraph(line, indent="  "))
    show(f"{len(records) - failed} of {len(records)} records have all metrics")
    return failed


def measure(
    source: str | Path | Record = "runs",
    metrics: str | Sequence[str] = "standard",
    sweep: str | None = None,
    controls: bool = False,
    inputs: str | Path | None = None,
    again: bool = False,
    detector: LandmarkDetector | None = None,
) -> pd.DataFrame:
    """Measures finished records, and adds the new values to their metrics.

    A record that cannot be measured is reported; the others are still measured.

    Args:
        source: a runs folder, or one record.
        metrics: a set (quick, standard, full) or families, by name.
        sweep: only the records of this sweep; None takes all of the folder.
        controls: whether to measure sync also with wrong voices, which must score low.
        inputs: a folder with clips and voices that were moved since; None if none was moved.
        again: whether to measure again what a record already has.
        detector: a detector of face landmarks; None takes the project's own.

    Returns:
        All metrics that the records now have, indexed by `record` (its id) and `metric`: `value`, `unit`, `better`
        (which direction), `note` (why there is no value).

    Raises:
        OptionError: a metric is unknown, or there is no record.
    """
    wanted = wanted_of(metrics if isinstance(metrics, str) else ",".join(metrics), controls)
    records = [source] if isinstance(source, Record) else records_in(Path(source), sweep)
    detector = detector or MediaPipeLandmarks()
    measure_records(records, wanted, detector, None if inputs is None else Path(inputs), again)
    return pd.concat({record.id: metrics_table(record.metrics) for record in records}, names=["record"])


def metrics_table(metrics: dict) -> pd.DataFrame:
    """The metrics of one record, one row each: value, unit, which direction is better, why a value is missing."""
    rows = [
        {
            "metric": name,
            "value": entry["value"],
            "unit": entry.get("unit", ""),
            "better": entry.get("direction", "none"),
            "note": entry.get("reason") or ("untrained model" if entry.get("model") == "untrained" else ""),
        }
        for name, entry in metrics.items()
    ]
    return pd.DataFrame(rows).set_index("metric")


def metrics_text(metrics: dict) -> str:
    """`metrics_table` as text that fits the terminal, with the metrics' names for readers beside their keys."""
    table = metrics_table(metrics).reset_index()
    table.insert(list(table.columns).index("note"), "name", table["metric"].map(word_of))
    return table_text(dict(table))
