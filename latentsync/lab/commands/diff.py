"""Say how two records differ: options, inputs, versions and metrics.

    latentsync diff A B [--runs RUNS] [--picture FILE.png]

A and B are folders of records (runs/records/ID), or ids. The first table lists what they were made of, where it
differs. The second one lists their metrics: both values, B less A, and the standard deviation between seeds of the same
clip, voice and settings, where the runs folder has at least 3 of them. A difference that is not larger than that may
be chance. The picture shows the mouths of both at equal times, below those of the clip. Records are only read.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from latentsync.lab.console import ArgumentParser, command, show

if TYPE_CHECKING:
    from latentsync.lab.jobs.differences import MetricDifference


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync diff", description=__doc__)
    parser.add_argument("first", metavar="A", help="the folder of a record, or its id")
    parser.add_argument("second", metavar="B", help="the other record")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where ids are looked for; default: runs")
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="draw the mouths of both; needs one clip")
    return parser


@command()
def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    args = parser().parse_args(arguments)
    from latentsync.lab.console.tables import table_text
    from latentsync.lab.jobs.differences import differences
    from latentsync.lab.records.labels import word_of
    from latentsync.lab.records.store import record_at

    first, second = (record_at(place, args.runs) for place in (args.first, args.second))
    found = differences(first, second)
    show(f"A is record {first.id}, B is record {second.id}")
    if found.facts:
        columns = zip(*((fact.name, *fact.values) for fact in found.facts), strict=True)
        show(table_text(dict(zip(("made of", "A", "B"), columns, strict=True))))
    else:
        show("they were made of the same clip, voice, model, options and versions")
    if found.metrics:
        rows = [(word_of(one.name), *_cells(one)) for one in found.metrics]
        heads = ("metric", "A", "B", "B - A", "unit", "between seeds")
        show(table_text(dict(zip(heads, zip(*rows, strict=True), strict=True))))
        for one in found.metrics:
            for letter, reason in zip("AB", one.reasons, strict=True):
                if reason:
                    show(f"- {letter} has no {word_of(one.name)}: {reason}")
    else:
        show("neither has metrics; `latentsync measure` adds them")
    if args.picture is not None:
        from latentsync.faces.landmarks import MediaPipeLandmarks
        from latentsync.lab.figures.mouths import mouth_sheet
        from latentsync.lab.figures.style import save

        save(mouth_sheet({f"A  {first.id}": first, f"B  {second.id}": second}, MediaPipeLandmarks()), args.picture)
        show(f"{args.picture} shows the mouths of both")
    return 0


def _cells(one: "MetricDifference") -> tuple[str, ...]:
    numbers = (*one.values, one.difference)
    shown = ["" if math.isnan(number) else f"{number:.4g}" for number in numbers[:2]]
    change = "" if math.isnan(numbers[2]) else f"{numbers[2]:+.4g}"
    seeds = "" if one.spread is None else f"{one.spread:.2g} ({one.num_seeds} seeds)"
    return (*shown, change, one.unit, seeds)
