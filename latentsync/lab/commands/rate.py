"""Write a blind rating of a sweep as one HTML file, and read its votes.

    latentsync rate runs --sweep guidance                                (runs/sweeps/guidance/rating.html)
    latentsync rate runs --sweep guidance --votes votes-*.csv            (adds them, and prints what all votes say)
    latentsync rate runs --sweep guidance --votes                        (prints what the votes so far say)

Send the HTML file to raters. It opens from disk, holds its videos, fetches and sends nothing, and saves a rater's votes
as a file to send back. Raters see two results of the same clip and voice at a time, in an order of their own, without
labels. Some pairs check attention: a pair of equals, and one with a damaged video.
"""

from pathlib import Path

from latentsync.lab.console import ArgumentParser, command, number, show

DEFAULT_CHECKS = 2


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync rate", description=__doc__)
    parser.add_argument("runs", type=Path, help="a runs folder")
    parser.add_argument("--sweep", help="the sweep's name; needed only if there are several")
    parser.add_argument(
        "--votes", type=Path, nargs="*", help="files that raters sent back, if any; nothing else is written"
    )
    parser.add_argument("--output", type=Path, help="default: rating.html in the sweep's folder")
    parser.add_argument("--by", default="guidance_scale", help="the setting that is judged; default: %(default)s")
    parser.add_argument(
        "--seed", type=number(0, 2**32 - 1), default=0, help="of order, sides and checks; default: %(default)s"
    )
    parser.add_argument("--number", type=number(1, 10_000), help="how many pairs; default: all")
    parser.add_argument(
        "--checks",
        type=number(0, 1_000),
        default=DEFAULT_CHECKS,
        help="of attention; default: %(default)s",
    )
    parser.add_argument("--question", help="what raters are asked")
    return parser


@command()
def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    args = parser().parse_args(arguments)
    from latentsync.lab.pages.rating import take_votes, write_rating

    if args.votes is None:
        asked = {} if args.question is None else {"question": args.question}
        path = write_rating(args.runs, args.sweep, args.output, args.by, args.seed, args.number, args.checks, **asked)
        show(
            f"{path} has {path.stat().st_size / 1e6:.1f} MB; send it to raters, and give what they send back to --votes"
        )
        return
    from latentsync.errors import OptionError
    from latentsync.lab.analysis.preferences import fit
    from latentsync.lab.analysis.votes import attention, read_votes
    from latentsync.lab.console import table_text

    path = take_votes(args.runs, args.sweep, args.votes)
    votes = read_votes(path)
    show(f"{path} has {len(votes)} votes; attention checks, and the share of votes for the left:")
    show(table_text(attention(votes).round(2).to_dict("list")))
    for _, same in votes.groupby("by"):
        try:
            columns = ["setting", "strength", "low", "high", "votes", "wins", "ties", "preferred"]
            fitted = fit(same)
        except OptionError as error:
            show(f"no strengths yet: {error}")
            continue
        show(f"strengths of {fitted['by'].iloc[0]} (Bradley-Terry), 95 % intervals by {fitted['interval'].iloc[0]}:")
        show(table_text(fitted[columns].round(3).to_dict("list")))
