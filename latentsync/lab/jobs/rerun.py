"""Makes a record again from its own options and inputs, and compares the two results: to the bit, or within a bound."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from latentsync import media
from latentsync.config import RuntimeOptions
from latentsync.constants import SOUND_RATE_HZ
from latentsync.errors import MediaError, OptionError
from latentsync.lab.cells.cell import run_cell
from latentsync.lab.jobs.maker import shipped_model
from latentsync.lab.options.pairs import Pair
from latentsync.lab.options.schema import (
    CacheConfig,
    DataConfig,
    MetricsConfig,
    ModelConfig,
    RunConfig,
    TrackerConfig,
    options_like,
)
from latentsync.lab.records.identity import changes, short_text
from latentsync.lab.records.inputs import input_file
from latentsync.lab.records.store import MASK_FILE, RESULT_FILE, Record, RecordStore, record_at
from latentsync.presets import Preset
from latentsync.weights import file_sha256

BLOCK_PX = 16
# Bounds of a result from another processor, whose sums of bfloat16 are rounded in another order. docs/reliability.md
# says what was measured.
MOST_BLOCK_LEVELS = 10.0  # mean difference of a block of 16 x 16 px, of 255
MOST_MEAN_LEVELS = 0.8  # mean difference of a frame
MOST_SOUND = 1e-3  # rms difference of the sound, full scale 1: -60 dB


@dataclass(frozen=True)
class FileDifference:
    """How a video and the one that was made again differ.

    Attributes:
        is_exact: whether their bytes are equal.
        reason: why they cannot be compared, such as another number of frames; None if they can.
        block_levels, mean_levels: the largest mean difference of a block of 16 x 16 px and of a frame, of 255.
        sound: rms difference of the sound; 0 without sound.
    """

    name: str
    is_exact: bool
    reason: str | None = None
    block_levels: float = 0.0
    mean_levels: float = 0.0
    sound: float = 0.0

    @property
    def is_within(self) -> bool:
        """Whether they are equal within the bounds."""
        return (
            self.reason is None
            and self.block_levels <= MOST_BLOCK_LEVELS
            and self.mean_levels <= MOST_MEAN_LEVELS
            and self.sound <= MOST_SOUND
        )

    def __str__(self) -> str:
        if self.is_exact:
            return f"{self.name}: equal to the bit"
        if self.reason is not None:
            return f"{self.name}: {self.reason}"
        return (
            f"{self.name}: frames differ by up to {self.mean_levels:.3f} levels on average (at most "
            f"{MOST_MEAN_LEVELS:g}), blocks of {BLOCK_PX} px by up to {self.block_levels:.2f} (at most "
            f"{MOST_BLOCK_LEVELS:g}), sound by {self.sound:.1e} rms (at most {MOST_SOUND:g})"
        )


@dataclass(frozen=True)
class Rerun:
    """A record and what came out when it was made again.

    Attributes:
        record: its id.
        changed: the parts of its identity that are others now, as "name: value then, value now". Then it is another
            record, and equal files would be chance.
        files: of the result and the painted frames.
        seconds: that making it again took.
    """

    record: str
    changed: tuple[str, ...]
    files: tuple[FileDifference, ...]
    seconds: float

    @property
    def is_exact(self) -> bool:
        """Whether it is equal to the bit."""
        return not self.changed and all(one.is_exact for one in self.files)

    @property
    def is_equal(self) -> bool:
        """Whether it is equal to the bit, or within the bounds."""
        return not self.changed and all(one.is_exact or one.is_within for one in self.files)

    @property
    def verdict(self) -> str:
        """A sentence."""
        if self.is_exact:
            return f"record {self.record} is equal to the bit"
        return f"record {self.record} is {'equal within the bounds' if self.is_equal else 'NOT equal'}"


def rerun(
    record: str | Path | Record,
    runs: str | Path = "runs",
    inputs: str | Path | None = None,
    model: ModelConfig | None = None,
    device: str | None = None,
) -> Rerun:
    """Makes a record again in a scratch folder, which is removed afterwards, and compares both results.

    Nothing is taken from caches, and the record itself is only read.

    Args:
        record: its folder, or its id.
        runs: the runs folder in which an id is looked for.
        inputs: a folder with the clip and the voice, if they were moved since.
        model: where the model is; None: the shipped one that the record names.
        device: a torch device; None: the usual one.

    Raises:
        OptionError: there is no such record, or its model is not a shipped one; or it cannot be made any more, with
            the reason.
        MediaError: an input is missing or was changed.
        DamagedFileError: the record is damaged.
    """
    found = record if isinstance(record, Record) else record_at(record, Path(runs))
    content = found.own_content
    if (fault := found.fault(is_deep=True)) is not None:
        raise MediaError(f"{found.folder} is damaged ({fault}); `latentsync run` makes it anew")
    folder = None if inputs is None else Path(inputs)
    facts = content["pair"]
    pair = Pair(
        input_file(found, "clip", folder), input_file(found, "voice", folder), facts["gender"], title=facts["name"]
    )
    with tempfile.TemporaryDirectory(prefix="latentsync-rerun-") as scratch:
        run = RunConfig(
            name="rerun",
            runs_dir=Path(scratch),
            data=DataConfig(),
            preset=Preset(),
            model=model or _model_of(content),
            options=options_like(content["options"], RuntimeOptions(device=device)),
            metrics=MetricsConfig.of(()),
            tracker=TrackerConfig(),
            cache=CacheConfig(max_gb=0),
        )
        (outcome,) = run_cell(run, (pair,), lambda _: None)
        if outcome.status == "failed":
            raise OptionError(f"record {found.id} could not be made again ({outcome.stage}): {outcome.reason}")
        again = RecordStore(run.runs_dir).find(outcome.record)
        changed = tuple(
            f"{name}: {short_text(then)} then, {short_text(now)} now"
            for name, then, now in changes(content.get("identity", {}), again.own_content["identity"])
        )
        files = tuple(_difference(found.folder / name, again.folder / name) for name in (RESULT_FILE, MASK_FILE))
    return Rerun(found.id, changed, files, outcome.seconds)


def _model_of(content: Mapping[str, Any]) -> ModelConfig:
    try:
        return ModelConfig(pretrained=shipped_model(content))
    except OptionError as error:
        raise OptionError(
            f"{error}, as for `latentsync run`: model.pretrained=FOLDER, or model.pretrained=null "
            "model.inference_ckpt_path=FILE"
        ) from error


def _difference(before: Path, after: Path) -> FileDifference:
    if file_sha256(before) == file_sha256(after):
        return FileDifference(before.name, True)
    block = mean = 0.0
    for one, other in zip_longest(media.read_frames(before, None), media.read_frames(after, None)):
        if one is None or other is None or one.shape != other.shape:
            counts = [media.probe(path, None).num_frames for path in (before, after)]
            return FileDifference(before.name, False, f"{counts[0]} frames then, {counts[1]} now, or of another size")
        levels = np.abs(one.astype(np.int16) - other).mean(axis=-1)
        block, mean = max(block, _largest_block(levels)), max(mean, float(levels.mean()))
    sound = 0.0
    if media.probe(before).has_sound or media.probe(after).has_sound:
        heard = [media.read_sound(path, SOUND_RATE_HZ) for path in (before, after)]
        if len(heard[0]) != len(heard[1]):
            return FileDifference(before.name, False, f"{len(heard[0])} samples of sound then, {len(heard[1])} now")
        sound = float(np.sqrt(np.square(heard[0] - heard[1]).mean()))
    return FileDifference(before.name, False, None, block, mean, sound)


def _largest_block(levels: np.ndarray) -> float:
    height, width = (max(1, side // BLOCK_PX) for side in levels.shape)
    inner = levels[: height * BLOCK_PX, : width * BLOCK_PX]
    sides = inner.shape[0] // height, inner.shape[1] // width
    return float(inner.reshape(height, sides[0], width, sides[1]).mean(axis=(1, 3)).max())
