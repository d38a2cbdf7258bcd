"""Measure how strongly each metric reacts to known damage.

    latentsync sensitivity [--output FOLDER] [--clips 12] [--metrics standard] [--strongest] [--workers 2]

FOLDER/clips/           painted clips that no training used, and the measured values of each
FOLDER/values.parquet   every metric of every clip, undamaged and damaged
FOLDER/sensitivity.csv  effect sizes: how much worse a metric becomes, in standard deviations of the undamaged clips
FOLDER/sensitivity.png  the same as a figure

Earlier measurements are kept and shown with the new ones. So you can add slow metrics for the strongest damage alone.
"""

import os
from pathlib import Path

from latentsync.lab.console import CONTINUES, ArgumentParser, command, few_workers, show, table_text


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync sensitivity", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("runs/sensitivity"), help="default: %(default)s")
    parser.add_argument("--clips", type=int, default=12, help="number of clips, at least 2; default: %(default)s")
    parser.add_argument("--metrics", default="standard", help="as for latentsync measure; default: %(default)s")
    parser.add_argument("--strongest", action="store_true", help="only the strongest step of each damage")
    parser.add_argument("--workers", type=int, default=few_workers(), help="processes; default: %(default)s")
    return parser


@command(interrupted=CONTINUES)
def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    args = parser().parse_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: the workers share the cores
    from latentsync.lab.evaluation.sensitivity import strongest_effects, study
    from latentsync.lab.figures.sensitivity import sensitivity_figure
    from latentsync.lab.figures.style import save
    from latentsync.lab.records.labels import word_of

    table = study(args.output, args.clips, args.metrics, args.strongest, args.workers)
    save(sensitivity_figure(table), args.output / "sensitivity.png")
    effects = strongest_effects(table)
    metrics = [word_of(name) for name in effects.index]
    show(table_text({"metric": metrics, **{damage: effects[damage].map("{:.1f}".format) for damage in effects}}))
    show(f"{args.clips} clips; effects of the strongest damage, in standard deviations of the undamaged clips")
    show(f"{args.output} holds values.parquet, sensitivity.csv and sensitivity.png")
