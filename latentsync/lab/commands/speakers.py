"""Make talking heads: shipped samples, training clips, or a sheet of faces.

latentsync speakers samples
latentsync speakers make --output_dir clips --count 20 --gender both --size 256 --seconds 3 --seed 0
latentsync speakers sheet --output faces.png
"""

from pathlib import Path

from latentsync.lab.console import CONTINUES, ArgumentParser, command, number
from latentsync.speakers.bounds import GENDERS_OF, KINDS, RECORDINGS, SIZES_PX, VIEWS_MM


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync speakers", description=__doc__)
    samples, make, sheet = parser.add_actions(
        samples="remake the shipped samples",
        make="make clips named g-00001.mp4, m-00002.mp4, ...",
        sheet="write a contact sheet of faces",
    )
    samples.add_argument("--output_dir", type=Path, help="default: the package's own folder")
    make.add_argument("--output_dir", type=Path, required=True)
    sheet.add_argument("--output", type=Path, required=True)
    for action, count, maximum in ((make, 10, 99_999), (sheet, 6, 40)):
        action.add_argument("--count", type=number(1, maximum), default=count, help="default: %(default)s")
        action.add_argument("--gender", choices=tuple(GENDERS_OF), default="both", help="default: %(default)s")
        action.add_argument(
            "--size", type=number(*SIZES_PX), default=256, help="side of the picture in px, even; default: %(default)s"
        )
        action.add_argument(
            "--kind", choices=KINDS, default="plain", help="wide: any skin, light, turn and lens; default: %(default)s"
        )
        action.add_argument("--seed", type=number(0, 2**31), default=0, help="default: %(default)s")
    make.add_argument(
        "--seconds",
        type=number(1.0, 60.0, float),
        default=3.0,
        help="shortest length of a speech, in seconds; default: %(default)s",
    )
    make.add_argument(
        "--rest", type=number(0.0, 10.0, float), default=0.0, help="longest pause in a generated speech, in seconds"
    )
    make.add_argument("--sentences", type=Path, help="text file with one sentence a line; default: generated")
    make.add_argument(
        "--recordings", choices=RECORDINGS, default="varied", help="rooms, microphones and noise; default: %(default)s"
    )
    make.add_argument("--workers", type=number(1, 256), default=1, help="processes; default: %(default)s")
    sheet.add_argument(
        "--view_mm", type=number(*VIEWS_MM, float), help="side of the picture in mm; default: a close-up of each face"
    )
    return parser


@command(interrupted=CONTINUES)
def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    args = parser().parse_args(arguments)
    from latentsync.speakers.folder import ClipOptions, make_clips, read_sentences, write_sheet
    from latentsync.speakers.samples import FOLDER, write_samples

    if args.action == "samples":
        write_samples(args.output_dir or FOLDER)
    elif args.action == "sheet":
        options = ClipOptions(args.gender, args.size, seed=args.seed, kind=args.kind)
        write_sheet(args.output, args.count, options, args.view_mm)
    else:
        sentences = read_sentences(args.sentences) if args.sentences else ()
        options = ClipOptions(
            args.gender, args.size, args.seconds, args.rest, args.seed, sentences, args.recordings, args.kind
        )
        make_clips(args.output_dir, args.count, options, args.workers)
