"""Audio-driven lip sync with LatentSync: a video and a voice walk in, a lip-synced video walks out."""

__version__ = "0.1.0"


def __getattr__(name: str):
    """`latentsync.LipsyncPipeline` without paying for torch at import."""
    if name == "LipsyncPipeline":
        from latentsync.pipeline import LipsyncPipeline

        return LipsyncPipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
