"""Measure records, two videos, or a folder of results.

    latentsync measure RUNS --metrics lpips_vgg,mouth [--sweep NAME] [--inputs FOLDER] [--controls] [--again]
    latentsync measure --video A --reference B [--audio W] [--metrics ...] [--output FILE.json]
    latentsync measure --generated DIR --reference DIR [--audio DIR] [--name MODEL] [--output TABLE.csv]
    latentsync measure --list FILE.csv [--name MODEL] [--output TABLE.csv]

The first form adds metrics to the records of a runs folder, without generating any video again. Each record is written
as soon as it is measured, and metrics that it already has are not measured again. The second form measures video A
against reference B, frame by frame, with the voice W (default: A's own sound). The others measure each video of a
folder against the reference of the same name, or each row of a list (columns generated, reference, audio), and write
one table for `latentsync compare`; a video that fails is named and keeps its rows. A stopped run goes on where it was.
The exit status is 0 if everything could be measured.
"""

from argparse import Namespace
from pathlib import Path

from latentsync.lab.console import CONTINUES, FAILED, ArgumentParser, command, paragraph, say, show
from latentsync.lab.options.schema import MetricsConfig, metric_sets
from latentsync.metrics.definitions import FAMILIES

TABLE_FILE = Path("measured.csv")


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync measure", description=__doc__)
    parser.add_argument("runs", type=Path, nargs="?", help="a runs folder, whose records are measured")
    known = f"{', '.join(metric_sets())}, or some of {', '.join(FAMILIES)}, separated by commas"
    parser.add_argument("--metrics", default="standard", help=f"{known}; default: %(default)s")
    parser.add_argument("--sweep", help="only the records of this sweep")
    parser.add_argument("--inputs", type=Path, help="folder of the clips and voices, if they were moved since")
    parser.add_argument(
        "--controls", action="store_true", help="measure sync also with wrong voices, which must score low"
    )
    parser.add_argument("--again", action="store_true", help="measure again what was measured before")
    parser.add_argument("--video", type=Path, help="a video to measure")
    parser.add_argument("--generated", type=Path, help="a folder of videos to measure, made by any program")
    parser.add_argument("--list", type=Path, help="a CSV file with the columns generated, reference, audio and group")
    parser.add_argument(
        "--reference", type=Path,
        help="the video that --video should look like, or that it was made from; a folder of them for --generated",
    )  # fmt: skip
    parser.add_argument(
        "--audio", type=Path,
        help="the voice that the lips should follow, or a folder of voices; default: each video's own sound",
    )  # fmt: skip
    parser.add_argument("--name", help="what made the videos of --generated or --list; default: the name of the folder")
    parser.add_argument(
        "--output", type=Path,
        help=f"a JSON file for values and curves of --video; a .csv or .parquet table of a folder: {TABLE_FILE}",
    )  # fmt: skip
    return parser


def parse(arguments: list[str] | None) -> Namespace:
    """The arguments, checked."""
    args = parser().parse_args(arguments)
    if sum(each is not None for each in (args.runs, args.video, args.generated, args.list)) != 1:
        parser().error("give one of a runs folder, --video, --generated and --list")
    if args.video is not None and args.reference is None:
        parser().error("--video needs --reference, the video that it should look like or that it was made from")
    if args.generated is not None and args.reference is None:
        parser().error("--generated needs --reference, a folder of the videos that its own should look like")
    if args.list is not None and (args.reference or args.audio):
        parser().error("--list names references and voices itself; leave out --reference and --audio")
    return args


@command(interrupted=CONTINUES)
def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    args = parse(arguments)
    from latentsync.faces.landmarks import MediaPipeLandmarks
    from latentsync.files import write_json
    from latentsync.lab.measuring.records import measure_records, metrics_text, wanted_of
    from latentsync.lab.measuring.result import Result, measured
    from latentsync.lab.records.sweeps import records_in
    from latentsync.metrics.judges import failure_notes

    wanted = wanted_of(args.metrics, args.controls)
    if args.generated is not None or args.list is not None:
        return _measure_videos(args, wanted)
    detector = MediaPipeLandmarks()
    if args.video is None:
        records = records_in(args.runs, args.sweep)
        return FAILED if measure_records(records, wanted, detector, args.inputs, args.again) else 0
    result = Result.of_files(args.video, args.reference, args.audio or args.video, detector)
    evaluation = measured(result, wanted, detector)
    show(metrics_text(evaluation.entries))
    for note in failure_notes({name: one["value"] for name, one in evaluation.entries.items()}):
        show(paragraph(f"{note}."))
    if args.output is not None:
        write_json(args.output, {"metrics": evaluation.entries, "curves": evaluation.curves})
        show(f"{args.output} holds values and curves")
    return 0


def _measure_videos(args: Namespace, wanted: MetricsConfig) -> int:
    """The videos of a folder or a list, to a table."""
    from latentsync.errors import MediaError
    from latentsync.faces.landmarks import MediaPipeLandmarks
    from latentsync.lab.analysis.measured import means_text
    from latentsync.lab.jobs.videos import measured_table, paired_folders, read_compared
    from latentsync.lab.records.labels import missing_lines
    from latentsync.lab.tables.tidy import require_suffix, write_table

    output = args.output or TABLE_FILE
    require_suffix(output)
    left_out = []
    if args.list is not None:
        videos = read_compared(args.list)
    else:
        videos, left_out = paired_folders(args.generated, args.reference, args.audio)
    for name, reason in left_out:
        say(f"left out   {name}: {reason}")
    model = args.name or (args.list.stem if args.generated is None else args.generated.resolve().name)
    kept = output.with_name(f"{output.stem}.measured")
    table, failures = measured_table(videos, wanted, MediaPipeLandmarks(), kept, model, args.again, say)
    if len(failures) == len(videos):
        name, reason = failures[0]
        raise MediaError(f"none of {len(videos)} videos could be measured, and no table was written; {name}: {reason}")
    write_table(table, output)
    show(means_text(table))
    has_values = table.groupby("record")["value"].transform("count") > 0
    lacking = table[table["value"].isna() & has_values]
    for line in missing_lines(zip(lacking["metric"], lacking["reason"].astype(str), strict=True), "video"):
        show(paragraph(line, indent="  "))
    for name, reason in failures:
        show(f"FAILED   {name}: {reason}")
    show(f"{output} has {len(videos)} videos, {len(failures)} of them without values; {len(left_out)} were left out")
    return FAILED if failures or left_out else 0
