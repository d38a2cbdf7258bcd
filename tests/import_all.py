"""Imports every module: a version of a package that lacks a name fails here. `make test-lowest` runs it."""

import importlib
import pkgutil
import sys

import latentsync


def failures() -> dict[str, str]:
    """The modules that cannot be imported, each with the reason."""
    failed = {}
    for module in pkgutil.walk_packages(latentsync.__path__, "latentsync."):
        try:
            importlib.import_module(module.name)
        except Exception as error:  # all failures are listed
            failed[module.name] = f"{type(error).__name__}: {error}"
    return failed


if __name__ == "__main__":
    for name, reason in (failed := failures()).items():
        print(f"{name}: {reason}", file=sys.stderr)
    sys.exit(1 if failed else 0)
