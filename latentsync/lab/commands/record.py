"""Print the JSON schema of a record's files.

    latentsync record schema [record.json | metrics.json | curves.json | tags.json]

A record is a folder runs/records/ID. Its JSON files follow these schemas (draft 2020-12), which are made from the
program's own options, metrics and checks. `schema` in record.json is the version. A record of a newer version than this
program knows is named and left out, and all others go on.
"""

from latentsync.lab.console import ArgumentParser, command, show

FILES = ("record.json", "metrics.json", "curves.json", "tags.json")


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync record", description=__doc__)
    (schema,) = parser.add_actions(schema="print the JSON schema of a record's file")
    schema.add_argument("file", nargs="?", default=FILES[0], choices=FILES, help="default: %(default)s")
    return parser


@command()
def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    args = parser().parse_args(arguments)
    import json

    from latentsync.lab.records.schema import SCHEMAS

    show(json.dumps(SCHEMAS[args.file](), indent=2))
    return 0
