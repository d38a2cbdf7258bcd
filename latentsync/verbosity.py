"""How much a process prints: quiet, normal or verbose. Commands choose it, and their workers inherit it."""

import os

VERBOSITIES = ("quiet", "normal", "verbose")
VERBOSITY_VARIABLE = "LATENTSYNC_VERBOSITY"


def verbosity() -> str:
    """How much this process prints: one of `VERBOSITIES`."""
    chosen = os.environ.get(VERBOSITY_VARIABLE, "")
    return chosen if chosen in VERBOSITIES else "normal"


def bars_off() -> bool | None:
    """The `disable` of tqdm's bars: True with --quiet; else None, so that they are shown on a terminal only."""
    return True if verbosity() == "quiet" else None
