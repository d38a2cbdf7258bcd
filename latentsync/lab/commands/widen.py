"""Widen a level of a UNet; the outermost one begins with the reference image.

    latentsync widen --model_dir MODEL --output_dir WIDER --data_dir CLIPS
        [--share 0.3 | --level 1 --channels 80] [--name NAME] [--seed 1247]

The outermost level gets twice the channels. Some of the new ones carry the reference image in the mask's hole, and the
masked image around it, from the first convolution to the last. --share is their part in the first estimate; the rest
stays what the UNet computed. An inner level without attention gets the --channels that are asked for, and the UNet
computes nearly what it did. Normalisations that old and new channels share are matched on windows of CLIPS. WIDER is
marked as untrained: train it, and `latentsync assemble --trained true` marks the result.
"""

from pathlib import Path

from latentsync.lab.console import ArgumentParser, command, show


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync widen", description=__doc__)
    parser.add_argument("--model_dir", required=True, help="a shipped model, or a folder in the diffusers layout")
    parser.add_argument("--output_dir", required=True, type=Path, help="the folder to write")
    parser.add_argument("--data_dir", required=True, type=Path, help="clips that latentsync prepare wrote")
    parser.add_argument("--level", type=int, default=0, help="from the outermost, 0, which is the default")
    parser.add_argument("--channels", type=int, help="of an inner level, after widening")
    parser.add_argument("--share", type=float, default=0.3, help="of the copies, 0..1; default: %(default)s")
    parser.add_argument("--name", help="the model's name; default: its present one")
    parser.add_argument("--seed", type=int, default=1247, help="of the new weights; default: %(default)s")
    return parser


@command()
def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    args = parser().parse_args(arguments)
    from latentsync.lab.training.assemble import listing
    from latentsync.lab.training.widen import widen

    widen(args.model_dir, args.output_dir, args.data_dir, args.level, args.channels, args.share, args.name, args.seed)
    show("\n".join(listing(args.output_dir)))
