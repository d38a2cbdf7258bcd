"""Estimate the memory that a published model needs, from tensor shapes alone.

    latentsync memory --unet_config_path stage2_512 --width 256 512 --num_frames 8 16 --dtype bfloat16 float32

The UNet and the SD-VAE run on tensors that have shapes but no values, so nothing is computed and no GPU is needed. The
estimate is the sum of all tensors that exist at the same time.
"""

from itertools import product

from latentsync.config import DTYPES
from latentsync.lab.console import ArgumentParser, command, show, table_text

GIB = 2**30
HEADINGS = ("dtype", "width", "num_frames", "weights", "UNet call", "VAE call", "together (GiB)")


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync memory", description=__doc__)
    parser.add_argument(
        "--unet_config_path", default="stage2_512", help="a name of conf/unet, or a file; default: %(default)s"
    )
    parser.add_argument("--width", type=int, nargs="+", default=[256, 512], help="side of the aligned crop, in px")
    parser.add_argument("--num_frames", type=int, nargs="+", default=[8, 16], help="number of frames in a window")
    parser.add_argument("--dtype", nargs="+", default=["bfloat16", "float32"], choices=DTYPES)
    parser.add_argument(
        "--guidance_scale",
        type=float,
        default=1.5,
        help="a scale of 1 halves the batch of each step; default: %(default)s",
    )
    return parser


@command()
def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    args = parser().parse_args(arguments)
    from latentsync.checkpoints.unet import read_unet_config
    from latentsync.device import named_dtype
    from latentsync.generation.guidance import is_guided
    from latentsync.generation.memory import published_memory
    from latentsync.lab.options.schema import ModelConfig

    model = ModelConfig(pretrained=None, inference_ckpt_path="any", unet_config_path=args.unet_config_path)
    config = read_unet_config(model.unet_config_file)["model"]
    rows = []
    for dtype, width, num_frames in product(args.dtype, args.width, args.num_frames):
        memory = published_memory(config, width, num_frames, named_dtype(dtype), is_guided(args.guidance_scale))
        sizes = (memory.weights, memory.unet_call, memory.vae_call, memory.peak)
        rows.append((dtype, width, num_frames, *(f"{size / GIB:.2f}" for size in sizes)))
    show(table_text(dict(zip(HEADINGS, zip(*rows, strict=True), strict=True))))
