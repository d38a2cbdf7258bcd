"""Show a runs folder in a browser.

    latentsync view RUNS [--sweep NAME] [--port NUMBER] [--no-browser] [--allow-make] [--allow-rating]

Prints a link and opens it: a gallery of all results that play in step, a table of their metrics, figures, one page for
each record, and sweeps as they run. The server answers this machine only, to those who have the link. It changes
nothing in the folder, unless you allow it to make records or to keep the votes of a blind rating. Ctrl-C ends it.

On another machine, forward the port, and open the printed link here: ssh -L 8765:127.0.0.1:8765 HOST
"""

from pathlib import Path

from latentsync.lab.console import ArgumentParser, command, number, say, show

MOST_PORT = 65535


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync view", description=__doc__)
    parser.add_argument("runs", type=Path, help="a runs folder")
    parser.add_argument("--sweep", help="the sweep that is shown at first; default: all records")
    parser.add_argument("--port", type=number(1, MOST_PORT), help="default: the first free one from 8765 on")
    parser.add_argument("--no-browser", action="store_true", help="only print the link")
    parser.add_argument("--allow-make", action="store_true", help="the page may make records that are missing")
    parser.add_argument("--allow-rating", action="store_true", help="the page has a blind rating, and stores its votes")
    parser.add_argument(
        "--model", help="that makes records: a choice of conf/model, or a folder; default: the record's own, if shipped"
    )
    parser.add_argument(
        "--inputs", type=Path, help="for records that are made: a folder with clips and voices that were moved"
    )
    return parser


@command(interrupted="ended")
def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    args = parser().parse_args(arguments)
    from latentsync.lab.serving.server import MAKES, RATES
    from latentsync.lab.serving.start import view

    def on_link(link: str) -> None:
        show(link)
        say(f"shows {args.runs.resolve()}; Ctrl-C ends it")

    flags = [flag for flag, is_given in ((MAKES, args.allow_make), (RATES, args.allow_rating)) if is_given]
    view(args.runs, args.sweep, args.port, on_link, not args.no_browser, flags, args.model, args.inputs)
