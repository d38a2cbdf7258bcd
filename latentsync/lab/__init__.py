"""The laboratory around `latentsync`: sweeps, records, tables, statistics, figures, reports and widgets.

from latentsync.lab import collect, compare

table = collect("runs", "NAME")
compare(table, "guidance_scale", baseline=1.5)
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latentsync.lab.analysis.answers import compare
    from latentsync.lab.measuring.records import measure
    from latentsync.lab.pages.write import report
    from latentsync.lab.tables.tidy import collect
    from latentsync.lab.widgets.explorer import Explorer
    from latentsync.lab.widgets.rating import BlindRating

__all__ = ["BlindRating", "Explorer", "collect", "compare", "measure", "report"]


if not TYPE_CHECKING:  # else a type checker would accept any name
    _MODULES = {
        "BlindRating": "widgets.rating",
        "Explorer": "widgets.explorer",
        "collect": "tables.tidy",
        "compare": "analysis.answers",
        "measure": "measuring.records",
        "report": "pages.write",
    }

    def __getattr__(name: str) -> object:
        """Imports the module of a public name when the name is first used."""
        if name in _MODULES:
            return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
