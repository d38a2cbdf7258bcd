"""Show the progress of sweeps, and check that their records are complete.

    latentsync status RUNS [--sweep NAME]

Each record of a sweep is done, failed, running (a process is making it) or missing (planned, but none of these). If a
record was edited by hand, is broken, or cannot be read now, a line says what is wrong with it; `latentsync check RUNS`
looks deeper. The command loads no model and changes no record. The exit status is 1 if anything failed or is broken.
"""

from pathlib import Path

from latentsync.lab.console import FAILED, ArgumentParser, command, show


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync status", description=__doc__)
    parser.add_argument("runs", type=Path, help="a runs folder")
    parser.add_argument("--sweep", help="only this sweep and its records")
    return parser


@command()
def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    args = parser().parse_args(arguments)
    from latentsync.lab.records.faults import faults
    from latentsync.lab.records.index import RecordIndex
    from latentsync.lab.records.store import RecordStore
    from latentsync.lab.records.sweeps import RETRY_HINT
    from latentsync.lab.sweeps.status import status_table, statuses

    store = RecordStore(args.runs)
    index, there = RecordIndex(store), store.ids() if args.sweep is None else ()
    index.look(there)
    sweeps = statuses(args.runs, args.sweep, index)
    show(status_table(sweeps))
    for sweep in sweeps:
        for line in sweep.lines:
            show(f"{sweep.name}: {line}")
    failed = sum(sweep.count("failed") for sweep in sweeps)
    if failed:
        show(f"{failed} failed; correct the cause and start the sweep again, or {RETRY_HINT}")
    records = there if args.sweep is None else sweeps[0].records
    broken = list(faults(store, [record for record in records if not index.holds(record)]))
    for line in broken:
        show(f"BROKEN  {line}")
    return FAILED if failed or broken else 0
