"""Put tags and a remark beside records, or take them away.

    latentsync tag ID                                   shows what the record has
    latentsync tag ID +best +paper -draft               adds two tags and removes one
    latentsync tag ID ID +best --remark "sharp teeth"   for several records; --remark "" removes the remark
    latentsync tag --runs RUNS ID +best

ID is the id of a record, or its folder. Tags and remark lie in a file of their own, runs/records/ID/tags.json. The
record itself and its id never change. Tables have the columns `tags` and `remark`, `latentsync collect --tag best` and
`latentsync view` filter by them, and `latentsync export` takes them along.
"""

from collections.abc import Sequence
from pathlib import Path

from latentsync.lab.console import ArgumentParser, command, show

REMOVAL = "--remove"


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync tag", description=__doc__)
    parser.add_argument("words", nargs="+", metavar="ID|+TAG|-TAG", help="records, tags to add, and tags to remove")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where ids are looked for; default: runs")
    parser.add_argument(REMOVAL, action="append", default=[], metavar="TAG", help="the same as -TAG")
    parser.add_argument("--remark", "--note", metavar="TEXT", help="a text that replaces the remark")
    return parser


@command()
def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    import sys

    args = parser().parse_intermixed_args(_removals(sys.argv[1:] if arguments is None else arguments))
    from latentsync.errors import OptionError
    from latentsync.lab.records.store import record_at
    from latentsync.lab.records.tags import check_tag, tag, tags_of

    places = [word for word in args.words if not word.startswith("+")]
    added = [word[1:] for word in args.words if word.startswith("+")]
    if not places:
        raise OptionError(f"no record is given, only {' '.join(args.words)}; give the id of one")
    for word in (*added, *args.remove):
        check_tag(word)
    records = [record_at(place, args.runs) for place in places]  # so that all are there before one is changed
    is_change = bool(added or args.remove or args.remark is not None)
    for record in records:
        now = tag(record, added, args.remove, args.remark) if is_change else tags_of(record)
        remark = f"  ({now.remark})" if now.remark else ""
        show(f"{record.id}  {now.text or 'no tags'}{remark}")
    return 0


def _removals(arguments: Sequence[str]) -> list[str]:
    """The arguments with `-TAG` as an option, which argparse would take for several options of one letter."""
    words = []
    for number, word in enumerate(arguments):
        is_value = number > 0 and arguments[number - 1] in ("--remark", "--note", "--runs", REMOVAL)
        is_removal = len(word) > 2 and word[0] == "-" and word[1] != "-" and not is_value
        words.append(f"{REMOVAL}={word[1:]}" if is_removal else word)
    return words
