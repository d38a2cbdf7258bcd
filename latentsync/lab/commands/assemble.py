"""Put trained networks into a model folder.

    latentsync assemble --model_dir BASE --output_dir OUT [--vae DIR] [--unet DIR] [--syncnet DIR]
        [--name NAME] [--dtype float16] [--trained true] [--unit_latents CLIPS]

DIR holds config.json and the weights, as runs/training/NAME/weights/vae does; the folder above it will do, too. OUT
becomes a copy of BASE with these networks in place of its own, whole or not at all; where OUT is BASE itself, each file
is exchanged at once. The networks are checked before anything is written. With --unit_latents the given VAE's latents
get mean 0 and deviation 1 in each channel, as measured on prepared clips; do it before a UNet is trained on them.
"""

from pathlib import Path

from latentsync.config import DTYPES
from latentsync.lab.console import ArgumentParser, command

NETWORKS = ("vae", "unet", "syncnet")


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync assemble", description=__doc__)
    parser.add_argument("--model_dir", required=True, help="a shipped model, or a folder in the diffusers layout")
    parser.add_argument("--output_dir", required=True, type=Path, help="the model's new folder, or the old one")
    for network in NETWORKS:
        parser.add_argument(
            f"--{network}", type=Path, metavar="DIR", help=f"the new {network}, as a training exported it"
        )
    parser.add_argument("--name", help="of the model, default: as it is")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of the given weights, default %(default)s")
    parser.add_argument(
        "--trained", choices=("true", "false"), help="whether its output is more than noise, default: as it is"
    )
    parser.add_argument(
        "--unit_latents", type=Path, metavar="CLIPS", help="prepared clips to bring the given VAE's latents to unit on"
    )
    return parser


@command()
def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    args = parser().parse_args(arguments)
    from latentsync.lab.training.assemble import assemble, listing

    assemble(
        args.model_dir,
        args.output_dir,
        {network: folder for network in NETWORKS if (folder := getattr(args, network)) is not None},
        name=args.name,
        trained=None if args.trained is None else args.trained == "true",
        dtype=args.dtype,
        unit_latents=args.unit_latents,
    )
    print("\n".join(listing(args.output_dir)))
