"""Publish each finished record to W&B or another tracker once.

    latentsync publish runs [--sweep quickstart] [--mode online]
    latentsync publish runs --tracker tensorboard

A file beside the tracker's files lists the published records with a hash of their content. Publishing again sends only
records that are new or have changed (for example, because metrics were added), and keeps their ids. If the tracker
cannot be reached, a notice is printed and no record is lost. A sweep waits for it for at most `tracker.timeout_s`.
"""

import os
from pathlib import Path

from latentsync.errors import MediaError, OptionError
from latentsync.lab.console import FAILED, ArgumentParser, command, show, warn
from latentsync.lab.options.schema import TRACKER_MODES, TrackerConfig


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync publish", description=__doc__)
    parser.add_argument("runs_dir", type=Path, help="the folder given as runs_dir")
    parser.add_argument("--sweep", help="the sweep's name; default: every sweep")
    parser.add_argument(
        "--tracker", default="wandb", help="wandb, csv, tensorboard, trackio or an installed one; default: wandb"
    )
    parser.add_argument("--mode", choices=TRACKER_MODES, help="of wandb; default: WANDB_MODE, else online")
    parser.add_argument("--project", help="default: WANDB_PROJECT, else latentsync")
    parser.add_argument("--entity", help="default: your own")
    parser.add_argument(
        "--timeout_s",
        type=float,
        default=TrackerConfig.timeout_s,
        help="time for a server to answer, in s; default: %(default)s",
    )
    return parser


@command()
def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    args = parser().parse_args(arguments)
    from latentsync.lab.options.folders import sweep_folder
    from latentsync.lab.records.sweeps import sweep_names, sweep_records
    from latentsync.lab.tables.tidy import sweep_failures
    from latentsync.lab.tracking.publish import publish

    mode = args.mode or (None if "WANDB_MODE" in os.environ else "online")
    config = TrackerConfig(project=args.project, mode=mode, entity=args.entity, timeout_s=args.timeout_s)
    config = config.only(args.tracker)
    if not config.names:
        raise OptionError("WANDB_MODE is disabled; give --mode online or offline")
    names = sweep_names(args.runs_dir) if args.sweep is None else [args.sweep]
    sweeps = {name: sweep_records(args.runs_dir, name) for name in names}
    sweeps = {
        name: records
        for name, records in sweeps.items()
        if records or sweep_failures(sweep_folder(args.runs_dir, name))
    }
    if not sweeps:
        called = "" if args.sweep is None else f" called {args.sweep!r}"
        raise MediaError(f"{args.runs_dir} has no finished records of a sweep{called}; `latentsync run -m` makes them")
    for sweep, records in sweeps.items():
        count, stopped = publish(records, sweep, config, args.runs_dir)
        place = config.wandb_mode if config.wandb else args.tracker
        show(f"{sweep}: published {count} of {len(records)} records ({place})")
        if stopped is not None:
            warn(f"error: {stopped}; the records are safe, run the command again")
            return FAILED
    return 0
