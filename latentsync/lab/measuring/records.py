"""Metrics of finished records: which are missing, measuring them, and a table of them."""

from pathlib import Path

import pandas as pd

from latentsync.errors import OptionError
from latentsync.faces.landmarks import LandmarkDetector
from latentsync.files import write_json
from latentsync.lab.measuring.result import Made, labelled, measured
from latentsync.lab.options.schema import METRIC_SETS, MetricsConfig
from latentsync.lab.records.inputs import input_file
from latentsync.lab.records.store import Record
from latentsync.metrics import FAMILIES
from latentsync.metrics.definitions import DEFINITIONS, base_name


def wanted_of(told: str, controls: bool = False) -> MetricsConfig:
    """The metrics that a command line names: a set (quick, standard, full), or families.

    Raises:
        OptionError: a name is unknown.
    """
    names = [name.strip() for name in told.split(",") if name.strip()]
    chosen = [family for name in names for family in METRIC_SETS.get(name, (name,))]
    if (unknown := sorted(set(chosen) - set(FAMILIES))) or not chosen:
        raise OptionError(
            f"--metrics names {', '.join(unknown) or 'nothing'}; choose {', '.join(METRIC_SETS)}, or some of "
            f"{', '.join(FAMILIES)}"
        )
    return MetricsConfig.of(chosen, controls)


def lacking(record: Record, wanted: MetricsConfig) -> MetricsConfig:
    """Those of the wanted metrics that a record does not have, or has by an older protocol."""
    has = {(base_name(name), entry.get("version")) for name, entry in record.metrics.items()}
    missing = {known.family for name, known in DEFINITIONS.items() if (name, known.version) not in has}
    if wanted.controls and not any(name.endswith("_shuffled") for name in record.metrics):
        return wanted
    return MetricsConfig.of([family for family in wanted.families if family in missing], wanted.controls)


def measure_record(
    record: Record, wanted: MetricsConfig, detector: LandmarkDetector, inputs: Path | None = None
) -> dict[str, dict]:
    """Measures a record and writes what was found beside what it had; returns the new entries.

    Raises:
        MediaError, FaceNotFoundError: an input is not there or not fit.
    """
    clip, voice = (input_file(record, kind, inputs) for kind in ("clip", "voice"))
    made = Made.of_options(record.video_path, clip, voice, record.content["options"], detector)
    found = measured(made, wanted, detector)
    entries = labelled(found.entries, record.content["model"]["trained"])
    write_json(record.curves_path, {**record.curves, **found.curves})
    write_json(record.metrics_path, {**record.metrics, **entries})
    return entries


def metrics_table(metrics: dict) -> pd.DataFrame:
    """The metrics of one record, a row each: value, unit, which direction is better, why a value is missing."""
    rows = [
        {
            "metric": name,
            "value": entry["value"],
            "unit": entry["unit"],
            "better": entry["direction"],
            "note": entry.get("reason") or ("untrained model" if entry.get("model") == "untrained" else ""),
        }
        for name, entry in metrics.items()
    ]
    return pd.DataFrame(rows).set_index("metric")
