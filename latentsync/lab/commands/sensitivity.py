"""How strongly each metric answers to damage of known kind and strength, on painted clips that no training saw.

    latentsync sensitivity [--output FOLDER] [--clips 12] [--metrics standard] [--strongest] [--workers 2]

FOLDER/clips/           the clips, and what was measured of each
FOLDER/values.parquet   every metric of every clip, undamaged and damaged
FOLDER/sensitivity.csv  effect sizes: how much worse a metric becomes, in standard deviations of the undamaged clips
FOLDER/sensitivity.png  the same as a figure

What was measured before is kept and shown with the rest, so costly metrics can be added for the strongest damage alone.
"""

import argparse
import os
import sys
from pathlib import Path

from latentsync.errors import LatentSyncError, OptionError
from latentsync.files import write_text
from latentsync.lab.console import say
from latentsync.lab.evaluation.damage import DAMAGES
from latentsync.lab.evaluation.material import default_workers
from latentsync.lab.evaluation.sensitivity import LEAST_CLIPS, all_steps, effects, judged, measure_clips
from latentsync.lab.figures.curves import sensitivity_figure
from latentsync.lab.figures.style import save
from latentsync.lab.measuring.records import wanted_of
from latentsync.lab.tables.tidy import write_table


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="latentsync sensitivity", description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/sensitivity"), help="default: %(default)s")
    parser.add_argument("--clips", type=int, default=12, help="how many, at least 2; default: %(default)s")
    parser.add_argument("--metrics", default="standard", help="as of latentsync measure; default: %(default)s")
    parser.add_argument("--strongest", action="store_true", help="each damage at its strongest only")
    parser.add_argument("--workers", type=int, default=default_workers(), help="processes; default: %(default)s")
    return parser.parse_args(arguments)


def report(told: argparse.Namespace) -> None:
    """Measures what is missing, and writes tables and figure."""
    if told.clips < LEAST_CLIPS or told.workers < 1:
        raise OptionError(
            f"--clips is {told.clips} and --workers {told.workers}; at least {LEAST_CLIPS} and 1 are needed"
        )
    wanted = wanted_of(told.metrics)
    values = measure_clips(told.output / "clips", told.clips, wanted, all_steps(told.strongest), told.workers)
    table = effects(values[values["metric"].map(judged)])
    write_table(values, told.output / "values.parquet")
    write_text(told.output / "sensitivity.csv", table.round(4).to_csv(index=False))
    save(sensitivity_figure(table), told.output / "sensitivity.png")
    strongest = table.loc[table.groupby(["metric", "damage"])["strength"].idxmax()]
    shown = strongest.pivot(index="metric", columns="damage", values="effect").reindex(columns=list(DAMAGES))
    say(shown.round(1).reindex(list(dict.fromkeys(table["metric"]))).to_string())
    say(f"{told.clips} clips; effects of the strongest damage, in standard deviations of the undamaged clips")
    say(f"{told.output} holds values.parquet, sensitivity.csv and sensitivity.png")


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    told = parse(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        report(told)
        return 0
    except (LatentSyncError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
