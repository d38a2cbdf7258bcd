"""Put trained networks into a model folder.

    latentsync assemble --model_dir BASE --output_dir OUT [--vae DIR] [--unet DIR] [--syncnet DIR]
        [--name NAME] [--dtype float16] [--trained true] [--num_inference_steps 4] [--unit_latents CLIPS] [--shares]

DIR holds config.json and the weights, for example runs/training/NAME/weights/vae; its parent folder is accepted too.
OUT becomes a copy of BASE with these networks in place of its own. It is written as a whole or not at all. If OUT is
BASE itself, each file is replaced in one step. The networks are checked before anything is written. --unit_latents
scales the given VAE's latents to mean 0 and standard deviation 1 in each channel, measured on prepared clips. Do this
before you train a UNet on them. With --shares, OUT holds only the given networks, and all else is read from BASE, a
shipped model.
"""

from pathlib import Path

from latentsync.config import DTYPES
from latentsync.lab.console import ArgumentParser, command, show

NETWORKS = ("vae", "unet", "syncnet")


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync assemble", description=__doc__)
    parser.add_argument("--model_dir", required=True, help="a shipped model, or a folder in the diffusers layout")
    parser.add_argument("--output_dir", required=True, type=Path, help="the folder to write; it may be BASE")
    for network in NETWORKS:
        parser.add_argument(
            f"--{network}", type=Path, metavar="DIR", help=f"folder of the new {network}, as exported by a training"
        )
    parser.add_argument("--name", help="the model's name; default: unchanged")
    parser.add_argument(
        "--dtype", choices=DTYPES, default="float32", help="data type of the given weights; default: %(default)s"
    )
    parser.add_argument(
        "--trained",
        choices=("true", "false"),
        help="whether the model is trained, so that its output is more than noise; default: unchanged",
    )
    parser.add_argument(
        "--num_inference_steps", type=int, metavar="N", help="how many steps are enough for it; default: unchanged"
    )
    parser.add_argument(
        "--unit_latents",
        type=Path,
        metavar="CLIPS",
        help="prepared clips on which the given VAE's latents are scaled to unit variance",
    )
    parser.add_argument(
        "--shares", action="store_true", help="write only the given networks; all else stays in the shipped --model_dir"
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
        shares=args.shares,
        num_inference_steps=args.num_inference_steps,
    )
    show("\n".join(listing(args.output_dir)))
