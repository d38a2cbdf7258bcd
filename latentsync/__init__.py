"""Audio-driven lip sync with LatentSync: from a video and a voice to a lip-synced video."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latentsync.pipeline import LipsyncPipeline

__version__ = "0.2.0"
__all__ = ["LipsyncPipeline", "__version__"]


if not TYPE_CHECKING:  # with `__getattr__`, a type checker would accept any name

    def __getattr__(name: str) -> object:
        """Gives `latentsync.LipsyncPipeline`; torch is imported at the first use of this name only."""
        if name == "LipsyncPipeline":
            from latentsync.pipeline import LipsyncPipeline

            return LipsyncPipeline
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
