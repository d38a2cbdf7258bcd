"""Begin a model of larger crops with what a small one has learned.

    latentsync grow --model_dir mini --output_dir BIG [--latent_channels 8]
        [--predicts sample] [--name NAME] [--seed 1247]

BIG has crops of twice the side. Its autoencoder is that of the small model. With --latent_channels it gets more latent
channels, and reproduces pictures as before until it is trained. Its UNet gets one more level around those it has. The
new parts have seeded random weights, so BIG is marked as untrained. Everything else is copied. Train the autoencoder
first, then the UNet; `latentsync assemble --trained true` marks the result.
"""

from pathlib import Path

from latentsync.lab.console import ArgumentParser, command, show


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync grow", description=__doc__)
    parser.add_argument("--model_dir", required=True, help="a shipped model, or a folder in the diffusers layout")
    parser.add_argument("--output_dir", required=True, type=Path, help="the folder to write")
    parser.add_argument("--latent_channels", type=int, help="of the autoencoder; default: as many as it has")
    parser.add_argument(
        "--predicts",
        choices=("epsilon", "v_prediction", "sample"),
        help="what the UNet is trained to predict; sample is the clean latents; default: as the small model does",
    )
    parser.add_argument("--name", help="the model's name; default: the small one's name and the new side in px")
    parser.add_argument("--seed", type=int, default=1247, help="of the new weights; default: %(default)s")
    return parser


@command()
def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    args = parser().parse_args(arguments)
    from latentsync.lab.training.assemble import listing
    from latentsync.lab.training.grow import grow

    grow(args.model_dir, args.output_dir, args.latent_channels, args.predicts, args.name, args.seed)
    show("\n".join(listing(args.output_dir)))
