"""Write a list of pairs from a folder with subfolders, such as a data set.

    latentsync pairs DIR --output PAIRS.csv
    latentsync pairs DIR --output PAIRS.csv --clips '{split}/{group}/{clip}.mp4' --voices own
    latentsync pairs DIR --output PAIRS.csv --clips 'video/{group}_{clip}.mpg' --voices 'audio/{group}_{clip}.wav'

Every clip gets one voice: the sound file of the same name beside it, else its own sound. In a pattern a name in braces
stands for a part of the path without slashes, * for anything without slashes, **/ for any folders. {group} (the
speaker), {gender} and {split} become columns of the list. Put patterns into quotes. docs/folders.md has the patterns of
HDTF, VoxCeleb2, LRS, GRID and CREMA-D. No clip is opened; `latentsync check PAIRS.csv` does that. Then:

    latentsync run data=list data.list=PAIRS.csv
"""

from collections import Counter
from pathlib import Path

from latentsync.lab.console import ArgumentParser, command, show

SHOWN = 10  # most files and groups that are listed


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync pairs", description=__doc__)
    parser.add_argument("folder", type=Path, help="a folder with clips, also in subfolders")
    parser.add_argument("--output", type=Path, required=True, help="the list to write, a .csv file")
    parser.add_argument("--clips", metavar="PATTERN", help="the clips' paths in the folder; default: every video")
    parser.add_argument(
        "--voices",
        default="any",
        metavar="PATTERN",
        help="own: the clip's sound; beside: a sound file of its name in its folder; any (the default): beside, else "
        "own; or the voices' paths, with the names of --clips, {folder} and {stem}",
    )
    parser.add_argument("--gender", help="of all people: female, male or neutral; default: by {gender} or --genders")
    parser.add_argument(
        "--genders", type=Path, metavar="TABLE", help="a CSV file with a column gender or sex, and one with the groups"
    )
    return parser


@command()
def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    args = parser().parse_args(arguments)
    from latentsync.lab.options.trees import pairs_in_tree

    tree = pairs_in_tree(args.folder, args.clips, args.voices, gender=args.gender, genders=args.genders)
    tree.write(args.output)
    for name, reason in tree.left_out[:SHOWN]:
        show(f"left out   {name}: {reason}")
    if (more := len(tree.left_out) - SHOWN) > 0:
        show(f"left out   {more} more files")
    if tree.without_gender:
        names = ", ".join(tree.without_gender[:SHOWN]) + (", ..." if len(tree.without_gender) > SHOWN else "")
        show(f"note: {args.genders} has no gender of {len(tree.without_gender)} groups: {names}")
    groups = len({pair.group for pair in tree.pairs} - {None})
    genders = Counter(pair.gender for pair in tree.pairs if pair.gender)
    words = [f"{number} {gender}" for gender, number in sorted(genders.items())]
    words += [f"{groups} group{'s' if groups > 1 else ''}"] if groups else []
    number = len(tree.pairs)
    show(f"{args.output} has {number} pair{'s' if number > 1 else ''}" + (f" ({', '.join(words)})" if words else ""))
