"""The tracker that a configuration names."""

from pathlib import Path

from latentsync import plugins
from latentsync.lab.options.schema import TrackerConfig
from latentsync.lab.tracking.trackers import Tracker


def make_tracker(config: TrackerConfig, runs_dir: Path) -> Tracker:
    """The configured tracker. Its module is imported only here, so that the package of an unused one may be missing.

    Raises:
        OptionError: it comes from a package that cannot be imported.
    """
    (name,) = config.names
    if name == "wandb":
        from latentsync.lab.tracking.wandb_tracker import WandbTracker

        return WandbTracker(config, runs_dir)
    if name == "csv":
        from latentsync.lab.tracking.csv_tracker import CsvTracker

        return CsvTracker(config, runs_dir)
    if name == "tensorboard":
        from latentsync.lab.tracking.tensorboard_tracker import TensorBoardTracker

        return TensorBoardTracker(config, runs_dir)
    if name == "trackio":
        from latentsync.lab.tracking.trackio_tracker import TrackioTracker

        return TrackioTracker(config, runs_dir)
    return plugins.load(plugins.TRACKERS_GROUP, name)(config, runs_dir)
