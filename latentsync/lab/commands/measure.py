"""Measures results that are there already, whoever made them.

    latentsync measure RUNS --metrics lpips_vgg,mouth [--sweep NAME] [--inputs FOLDER] [--controls] [--again]
    latentsync measure --video A --reference B [--audio W] [--metrics ...] [--output FILE.json]

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

from latentsync.errors import LatentSyncError, OptionError
from latentsync.faces.landmarks import LandmarkDetector, MediaPipeLandmarks
from latentsync.files import write_json
from latentsync.lab.console import say
from latentsync.lab.measuring.records import lacking, measure_record, metrics_table, wanted_of
from latentsync.lab.measuring.result import Made, measured
from latentsync.lab.options.schema import METRIC_SETS
from latentsync.lab.records.store import RecordStore
from latentsync.lab.tables.tidy import sweep_records
from latentsync.metrics import FAMILIES


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="latentsync measure", description=__doc__.splitlines()[0])
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
        detector = MediaPipeLandmarks()
        if told.video is not None:
            measure_video(told, detector)
            return 0
        return 1 if measure_runs(told, detector) else 0
    except (LatentSyncError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
