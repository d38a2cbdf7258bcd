"""Measures results that are there already, whoever made them.

    python -m experiments.measure RUNS --metrics lpips_vgg,mouth [--sweep NAME] [--inputs FOLDER] [--controls] [--again]
    python -m experiments.measure --video A --reference B [--audio W] [--metrics ...] [--output FILE.json]

The first adds metrics to the records of a runs folder without generating anything again; each record is written as it
is finished, and what it has already is not measured again. The second measures any pair of videos, frame by frame: A as
it is, B as it should be, W the voice (default: A's own sound).
"""

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd

from experiments.cell import labelled, say
from experiments.collect import sweep_records
from experiments.display import metrics_table
from experiments.measuring import Made, measured
from experiments.pairs import SHIPPED_DIR
from experiments.record import Record, RecordStore, write_json
from experiments.schema import METRIC_SETS, MetricsConfig
from latentsync.errors import LatentSyncError, MediaError, OptionError
from latentsync.landmarks import LandmarkDetector, MediaPipeLandmarks
from latentsync.metrics import FAMILIES
from latentsync.metrics.definitions import DEFINITIONS, base_name
from latentsync.pipeline import LANDMARK_REFINEMENTS
from latentsync.stage_cache import input_sha256


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.measure", description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="?", help="a runs folder, whose records are measured")
    known = f"{', '.join(METRIC_SETS)}, or some of {', '.join(FAMILIES)}, with commas between them"
    parser.add_argument("--metrics", default="standard", help=f"{known}; default: %(default)s")
    parser.add_argument("--sweep", help="only the records of this sweep")
    parser.add_argument("--inputs", type=Path, help="where clips and voices are that have been moved since")
    parser.add_argument("--controls", action="store_true", help="repeat measures of sync with voices that must fail")
    parser.add_argument("--again", action="store_true", help="measure anew what a record has already")
    parser.add_argument("--video", type=Path, help="a video to measure")
    parser.add_argument("--reference", type=Path, help="the video that it should look like, or was made from")
    parser.add_argument("--audio", type=Path, help="the voice that its lips should follow; default: the video's sound")
    parser.add_argument("--output", type=Path, help="a JSON file for the values and curves of --video")
    told = parser.parse_args(arguments)
    if (told.runs is None) == (told.video is None):
        parser.error("give a runs folder, or --video with --reference")
    if told.video is not None and told.reference is None:
        parser.error("--video needs --reference, the video that it should look like or was made from")
    return told


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


def input_file(record: Record, kind: str, inputs: Path | None) -> Path:
    """The very clip or voice of a record: where it was, in the given folder, or among the shipped ones.

    Raises:
        MediaError: it is in none of these places, or has been changed.
    """
    told = record.content["pair"][kind]
    places = [Path(told["path"])] if "path" in told else []
    places += sorted(inputs.rglob(told["name"])) if inputs is not None else []
    places.append(SHIPPED_DIR / told["name"])
    for place in places:
        if place.is_file() and input_sha256(place) == told["sha256"]:
            return place
    raise MediaError(
        f"the {kind} {told['name']} of record {record.id} (SHA-256 {told['sha256'][:12]}...) is not at "
        f"{', '.join(map(str, places))}; give its folder with --inputs"
    )


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


def measure_runs(told: argparse.Namespace, detector: LandmarkDetector) -> int:
    """Measures the records of a runs folder one by one; returns how many could not be measured."""
    wanted = wanted_of(told.metrics, told.controls)
    records = RecordStore(told.runs).all() if told.sweep is None else sweep_records(told.runs, told.sweep)
    if not records:
        raise OptionError(f"{told.runs} holds no record{f' of sweep {told.sweep}' if told.sweep else ''}")
    failed, none = 0, Counter()
    for number, record in enumerate(records, start=1):
        start, missing = time.perf_counter(), wanted if told.again else lacking(record, wanted)
        label = f"[{number}/{len(records)}] {record.id} {record.content['pair']['name']}"
        if not missing.families:
            say(f"{label}: has them all")
            continue
        try:
            entries = measure_record(record, missing, detector, told.inputs)
        except LatentSyncError as error:
            failed += 1
            say(f"{label}: FAILED  {error}")
            continue
        none.update(f"{name}: {entry['reason']}" for name, entry in entries.items() if entry["value"] is None)
        values = sum(entry["value"] is not None for entry in entries.values())
        say(f"{label}: {values} values, {len(entries) - values} without, {time.perf_counter() - start:.1f} s")
    for line, count in sorted(none.items()):
        say(f"- {count} without {line}")
    say(f"{len(records) - failed} of {len(records)} records have them")
    return failed


def measure_video(told: argparse.Namespace, detector: LandmarkDetector) -> None:
    """Measures one video beside another, prints the table and writes the file."""
    wanted = wanted_of(told.metrics, told.controls)
    made = Made.of_files(told.video, told.reference, told.audio or told.video, detector)
    found = measured(made, wanted, detector)
    with pd.option_context("display.max_rows", None, "display.width", 160, "display.max_colwidth", 90):
        say(metrics_table(found.entries).to_string())
    if told.output is not None:
        write_json(told.output, {"metrics": found.entries, "curves": found.curves})
        say(f"{told.output} holds values and curves")


def main(arguments: list[str] | None = None) -> int:
    """The command line; the exit status is 0 if every record could be measured."""
    told = parse(arguments)
    try:
        detector = MediaPipeLandmarks(refinements=LANDMARK_REFINEMENTS)
        if told.video is not None:
            measure_video(told, detector)
            return 0
        return 1 if measure_runs(told, detector) else 0
    except (LatentSyncError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
