"""Check clips and voices before any model is loaded, or the files of records.

    latentsync check DIR            a folder for `latentsync batch`
    latentsync check PAIRS.csv      a list of pairs
    latentsync check CLIP.mp4
    latentsync check RUNS           the records of a runs folder
    latentsync check OUTPUTS        what `latentsync batch` wrote

Of records and outputs it compares each file with the size and the hash (SHA-256) that it was made with.

For clips and voices it shows for each file what it holds, whether it can be used, and what to do: picture, rate and
length; width of the face and in how many of a few sampled frames it is seen; cuts; sound, its level and clipping; when
a clip's own sound begins; and the gender that decides the guidance. The exit status is 1 if a file or row is refused,
or a record has a fault.
"""

from pathlib import Path

from latentsync.lab.console import FAILED, ArgumentParser, command, show, table_text, warn


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync check", description=__doc__)
    parser.add_argument(
        "source",
        type=Path,
        help="a folder of clips and voices, a list of pairs (.csv), one file, a runs folder, or outputs",
    )
    parser.add_argument("--split", help="only the list's pairs of this split")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    return parser


@command()
def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    args = parser().parse_args(arguments)
    from latentsync.lab.jobs.proofs import faults_in

    if (checked := faults_in(args.source)) is not None:
        show(checked.to_json() if args.json else checked.text())
        return FAILED if checked.faults else 0
    from latentsync.faces.landmarks import MediaPipeLandmarks
    from latentsync.lab.jobs.check import check

    result = check(args.source, MediaPipeLandmarks(refinements=0), args.split)
    if args.json:
        show(result.to_json())
    else:
        if result.files:
            show(table_text(result.columns()))
        for problem in result.problems:
            warn(f"problem: {problem}")
        show(result.summary())
    return 0 if result.is_usable else FAILED
