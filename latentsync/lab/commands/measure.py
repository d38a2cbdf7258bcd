"""Measure records, or compare any two videos.

    latentsync measure RUNS --metrics lpips_vgg,mouth [--sweep NAME] [--inputs FOLDER] [--controls] [--again]
    latentsync measure --video A --reference B [--audio W] [--metrics ...] [--output FILE.json]

The first form adds metrics to the records of a runs folder, without generating any video again. Each record is written
as soon as it is measured, and metrics that it already has are not measured again. The second form measures video A
against reference B, frame by frame, with the voice W (default: A's own sound). The exit status is 0 if everything could
be measured.
"""

from argparse import Namespace
from pathlib import Path

from latentsync.lab.console import CONTINUES, FAILED, ArgumentParser, command, show
from latentsync.lab.options.schema import metric_sets
from latentsync.metrics.definitions import FAMILIES


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
    parser.add_argument("--again", action="store_true", help="measure again what a record already has")
    parser.add_argument("--video", type=Path, help="a video to measure")
    parser.add_argument("--reference", type=Path, help="the video that it should look like, or that it was made from")
    parser.add_argument("--audio", type=Path, help="the voice that its lips should follow; default: the video's sound")
    parser.add_argument("--output", type=Path, help="a JSON file for the values and curves of --video")
    return parser


def parse(arguments: list[str] | None) -> Namespace:
    """The arguments, checked."""
    args = parser().parse_args(arguments)
    if (args.runs is None) == (args.video is None):
        parser().error("give a runs folder, or --video with --reference")
    if args.video is not None and args.reference is None:
        parser().error("--video needs --reference, the video that it should look like or that it was made from")
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

    detector = MediaPipeLandmarks()
    wanted = wanted_of(args.metrics, args.controls)
    if args.video is None:
        records = records_in(args.runs, args.sweep)
        return FAILED if measure_records(records, wanted, detector, args.inputs, args.again) else 0
    result = Result.of_files(args.video, args.reference, args.audio or args.video, detector)
    evaluation = measured(result, wanted, detector)
    show(metrics_text(evaluation.entries))
    if args.output is not None:
        write_json(args.output, {"metrics": evaluation.entries, "curves": evaluation.curves})
        show(f"{args.output} holds values and curves")
    return 0
