"""Raw videos -> a folder of aligned pieces to train on.

    latentsync prepare --input_dir RAW --output_dir CLIPS [--size 256] [--max_seconds 10] [--workers 2]
        [--syncnet syncnet_v2.model | --syncnet mini [--min_confidence 0.05]]

Of each video of RAW come CLIPS/STEM-000.mp4 (aligned crops, 25 frames/s), STEM-000.wav (16 kHz mono, 16 bit) and
STEM-000.json (where it is from, affines, sync, truth), STEM-001.* and so on. A piece is there when its JSON file is.
What gives nothing is told with its reason, on the terminal and in CLIPS/report.json. Started again it goes on where it
stopped; a video whose file or settings changed is made anew.
"""

import argparse
import sys
from pathlib import Path

from latentsync.errors import LatentSyncError, OptionError
from latentsync.lab.options.pairs import CLIP_SUFFIXES
from latentsync.lab.training.prepare import prepare
from latentsync.training.prepare import PrepareOptions
from latentsync.training.shots import find_cut_detector
from latentsync.training.sound import LEAST_MINI_CONFIDENCE


def parse(arguments: list[str] | None) -> argparse.Namespace:
    usual = PrepareOptions()
    parser = argparse.ArgumentParser(prog="latentsync prepare", description=__doc__.splitlines()[0])
    parser.add_argument("--input_dir", required=True, type=Path, help=f"videos: {' '.join(CLIP_SUFFIXES)}")
    parser.add_argument("--output_dir", required=True, type=Path, help="made where it is missing; not the input folder")
    parser.add_argument("--size", type=int, default=usual.size_px, help="side of the crops in px, default %(default)s")
    parser.add_argument("--min_seconds", type=float, default=usual.min_seconds, help="default %(default)s")
    parser.add_argument("--max_seconds", type=float, default=usual.max_seconds, help="default %(default)s")
    parser.add_argument("--workers", type=int, default=1, help="processes, default %(default)s")
    parser.add_argument(
        "--syncnet",
        help="syncnet_v2.model, or `mini` or a model folder for that model's own: corrects offsets of up to 6 frames "
        "and keeps what is confidently in sync (SyncNet v2: at least 3); without it the sound stays where it is and "
        "nothing is dropped for its sync",
    )
    parser.add_argument(
        "--min_confidence",
        type=float,
        help=f"of a model's own SyncNet, 0..1, default {LEAST_MINI_CONFIDENCE:g}; not comparable with SyncNet v2's 3",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """The command line; the exit status is 0 if there is at least one piece and nothing failed by a defect."""
    told = parse(arguments)
    try:
        if told.workers < 1:
            raise OptionError(f"--workers is {told.workers}; it must be at least 1")
        options = PrepareOptions(told.size, told.min_seconds, told.max_seconds)
        if find_cut_detector() is None:
            print('scenedetect is not installed (extra "train"): cuts are seen only where a face\'s track ends')
        outcomes = prepare(told, options)
    except LatentSyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    used = [outcome for outcome in outcomes if outcome.status == "done"]
    found = sum(outcome.is_found for outcome in outcomes)
    pieces = sum(len(outcome.pieces) for outcome in used)
    print(f"{pieces} pieces of {len(used)} of {len(outcomes)} videos are in {told.output_dir} ({found} found there)")
    for outcome in failed:
        print(f"FAILED  {outcome.name}\n{outcome.trace or outcome.reason}", file=sys.stderr)
    return 1 if failed or not pieces else 0
