"""An example of a package that adds to LatentSync Lab. This module is imported by every command, so it is light."""

from latentsync.metrics.definition import Definition, InstalledFamily

FLICKER = InstalledFamily(
    text="changes of the face's brightness from frame to frame, compared with the clip.",
    definitions={
        "flicker": Definition(
            "flicker", "flicker", "grey levels", "lower",
            "mean absolute change of the aligned crop's mean brightness between consecutive frames", "this example",
        ),
        "flicker_ratio": Definition(
            "flicker ratio", "flicker", "ratio", "one", "the same, divided by that of the clip's crops", "this example"
        ),
    },
    place="latentsync_example.flicker:Flicker",
)  # fmt: skip
