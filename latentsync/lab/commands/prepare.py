"""Make training clips from raw videos.

    latentsync prepare --input_dir RAW --output_dir CLIPS [--size 256] [--max_seconds 10] [--workers 2]
        [--syncnet syncnet_v2.model | --syncnet mini [--min_confidence 0.05]]

Each video of RAW gives pieces: CLIPS/STEM-000.mp4 (aligned crops, 25 frames/s), STEM-000.wav (16 kHz mono, 16 bit) and
STEM-000.json (source, affines, sync, truth), then STEM-001.* and so on. A piece is finished when its JSON file exists.
Videos without any piece are listed with the reason, on the terminal and in CLIPS/report.json. If you run the command
again, it continues where it stopped; a video is processed again only if its file or the settings changed. The exit
status is 0 if there is at least one piece and no defect occurred.
"""

from pathlib import Path

from latentsync.lab.console import CONTINUES, FAILED, ArgumentParser, command, show, warn
from latentsync.training.options import LEAST_MINI_CONFIDENCE, PrepareOptions


def parser() -> ArgumentParser:
    """The command line."""
    usual, parser = PrepareOptions(), ArgumentParser("latentsync prepare", description=__doc__)
    parser.add_argument("--input_dir", required=True, type=Path, help="a folder of videos")
    parser.add_argument("--output_dir", required=True, type=Path, help="created if missing; not the input folder")
    parser.add_argument("--size", type=int, default=usual.size_px, help="side of the crops in px, default %(default)s")
    parser.add_argument("--min_seconds", type=float, default=usual.min_seconds, help="default %(default)s")
    parser.add_argument("--max_seconds", type=float, default=usual.max_seconds, help="default %(default)s")
    parser.add_argument("--workers", type=int, default=1, help="processes; default: %(default)s")
    parser.add_argument(
        "--syncnet",
        help="syncnet_v2.model, or `mini`, or a model folder with a SyncNet of its own: corrects offsets of up to 6 "
        "frames and keeps only pieces with a high confidence (SyncNet v2: at least 3); default: no correction, and "
        "every piece is kept",
    )
    parser.add_argument(
        "--min_confidence",
        type=float,
        help=f"least confidence for a model's own SyncNet, 0..1 (not on SyncNet v2's scale); default: "
        f"{LEAST_MINI_CONFIDENCE:g}",
    )
    return parser


@command(interrupted=CONTINUES)
def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    args = parser().parse_args(arguments)
    from latentsync.lab.training.prepare import prepare
    from latentsync.training.shots import find_cut_detector

    options = PrepareOptions(args.size, args.min_seconds, args.max_seconds)
    if find_cut_detector() is None:
        show('scenedetect is not installed (extra "train"): cuts are seen only where a face\'s track ends')
    outcomes = prepare(args.input_dir, args.output_dir, options, args.workers, args.syncnet, args.min_confidence)
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    used = [outcome for outcome in outcomes if outcome.status == "done"]
    already = sum(outcome.is_cached for outcome in outcomes)
    pieces = sum(len(outcome.pieces) for outcome in used)
    show(f"{pieces} pieces of {len(used)} of {len(outcomes)} videos are in {args.output_dir} ({already} cached)")
    for outcome in failed:
        warn(f"FAILED  {outcome.name}\n{outcome.trace or outcome.reason}")
    return FAILED if failed or not pieces else 0
