"""Time the networks and the pipeline here, as ratios to the plain algorithm.

    latentsync benchmark                                     the embedded model, under 2 minutes on 2 cores
    latentsync benchmark benchmark=full                      LatentSync 1.5 and 1.6 in full size, random weights
    latentsync benchmark without=[channels_last] stages=[unet] repeats=5
    latentsync benchmark stages=[]                           only the machine's peaks
    latentsync benchmark compare A.json B.json

Every stage runs in float32 with the original's algorithm ("plain"), with exact savings ("saved"), and both again in the
precision that this machine runs well. The variants take turns, so that their ratios hold on a busy machine, too.
Options are KEY=VALUE, as conf/benchmark_config.yaml explains them. FILE.json gets all numbers, FILE.png the roofline.
"""

from datetime import datetime
from pathlib import Path

from latentsync.lab.console import MISUSED, ArgumentParser, command, say, show, warn

COMPARE = "compare"


def parser() -> ArgumentParser:
    """The command line. Arguments that are not its own options must be Hydra overrides."""
    parser = ArgumentParser("latentsync benchmark", description=__doc__)
    parser.add_argument(
        "--output", type=Path, metavar="FILE.json", help="default: runs/benchmark/ and the date and time"
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="options; or: compare A.json B.json")
    return parser


@command()
def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    args = parser().parse_intermixed_args(arguments)
    if args.overrides[:1] == [COMPARE]:
        return _compare(args.overrides[1:])
    from latentsync.lab.jobs.benchmark.options import configure

    options = configure(args.overrides)
    output = args.output or Path("runs/benchmark") / f"{datetime.now():%Y-%m-%d-%H%M%S}.json"
    from latentsync.files import write_json
    from latentsync.lab.figures.speed import speed_figure
    from latentsync.lab.figures.style import save
    from latentsync.lab.jobs.benchmark.comparison import text_of
    from latentsync.lab.jobs.benchmark.measurement import measure

    benchmark = measure(options, say)
    write_json(output, benchmark)
    show(text_of(benchmark))
    picture = output.with_suffix(".png")
    if benchmark["rows"]:
        save(speed_figure(benchmark), picture)
    show(f"{output} holds all numbers" + (f", {picture} the figure" if benchmark["rows"] else ""))
    return 0


def _compare(files: list[str]) -> int:
    if len(files) != 2:
        warn(f"error: compare got {len(files)} files; give two: latentsync benchmark compare A.json B.json")
        return MISUSED
    from latentsync.lab.jobs.benchmark.comparison import compare, read_benchmark

    show(compare(*(read_benchmark(Path(file)) for file in files)))
    return 0
