"""Audio-driven lip sync with LatentSync: from a video and a voice to a lip-synced video."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latentsync.pipeline import LipsyncPipeline

__version__ = "0.1.0"
__all__ = ["LipsyncPipeline", "__version__"]


if not TYPE_CHECKING:  # a type checker would take any name to be there

    def __getattr__(name: str) -> object:
        """`latentsync.LipsyncPipeline`, for which torch is imported only when it is asked for."""
        if name == "LipsyncPipeline":
            from latentsync.pipeline import LipsyncPipeline

            return LipsyncPipeline
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
