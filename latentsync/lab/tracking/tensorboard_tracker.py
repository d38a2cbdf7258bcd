"""Finished records as TensorBoard's event files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from latentsync.files import remove
from latentsync.lab.options.schema import TrackerConfig
from latentsync.lab.records.store import Record
from latentsync.lab.tracking.trackers import config_of, curves_of, failure_id, run_id, values_of


class TensorBoardTracker:
    """`runs/tensorboard/SWEEP/ID`: for each record its metrics, hyperparameters and curves; a text for a failed pair.
    The steps of a curve are milliseconds, or shifts in frames.

    Args:
        folder: the runs folder.
    """

    def __init__(self, config: TrackerConfig, folder: Path) -> None:
        self._folder = folder / "tensorboard"

    def _writer(self, sweep: str, identifier: str) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        folder = self._folder / sweep / identifier
        if folder.is_dir():
            remove(folder)
        return SummaryWriter(str(folder))

    def publish(self, record: Record, sweep: str) -> None:
        """Writes the events of a record."""
        facts = {name: value for name, value in config_of(record.content, record.metrics).items() if value is not None}
        with self._writer(sweep, record.id) as writer:
            writer.add_hparams(
                facts, {f"metrics/{name}": value for name, value in values_of(record).items()}, run_name="."
            )
            for name, points in curves_of(record).items():
                for x, y in points:
                    writer.add_scalar(f"curves/{name}", y, round(x if name.endswith("_by_shift") else 1000 * x))

    def publish_failure(self, failure: Mapping[str, Any], sweep: str) -> None:
        """Writes why a pair failed."""
        with self._writer(sweep, failure_id(sweep, failure)) as writer:
            cell = " ".join(failure["overrides"])
            writer.add_text("failed", f"{failure['pair']} ({cell}): {failure.get('reason', '')}")

    def publish_sweep(
        self, sweep: str, table: pd.DataFrame, files: list[Path], failures: Sequence[Mapping[str, Any]]
    ) -> None:
        """Writes the pictures of a sweep."""
        from PIL import Image

        with self._writer(sweep, run_id(sweep)) as writer:
            for path in files:
                if path.suffix == ".png":
                    with Image.open(path) as picture:
                        writer.add_image(path.stem, np.asarray(picture.convert("RGB")), dataformats="HWC")

    def close(self) -> None:
        """Does nothing: each record's file is whole when it was published."""
