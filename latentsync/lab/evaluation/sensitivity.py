"""Measures how strongly each metric reacts to known damage of painted clips."""

import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from latentsync import media
from latentsync.config import SPEAKER_GENDERS
from latentsync.constants import SOUND_RATE_HZ, VIDEO_RATE_HZ
from latentsync.errors import OptionError
from latentsync.faces.composite import restore
from latentsync.faces.crops import aligned_crops, aligned_pictures
from latentsync.faces.landmarks import MediaPipeLandmarks
from latentsync.faces.masks import crops_to_pixels
from latentsync.faces.track import align
from latentsync.files import find_json, write_json
from latentsync.generation.stage_cache import StageCache
from latentsync.lab.analysis.intervals import DUST, mean_interval
from latentsync.lab.evaluation.damage import CRF, DAMAGES, WINDOW_FRAMES, Damage, damaged
from latentsync.lab.evaluation.material import FIRST_SEED
from latentsync.lab.measuring.records import wanted_of
from latentsync.lab.measuring.result import Result, measured
from latentsync.lab.options.schema import MetricsConfig
from latentsync.lab.tables.tidy import write_table
from latentsync.media import VideoWriter
from latentsync.media.sound import to_int16, write_wav
from latentsync.metrics.definitions import definition_of, direction_of
from latentsync.speakers.clip import render_clip, write_clip
from latentsync.speakers.identity import random_identity
from latentsync.speakers.painter import random_framing
from latentsync.speakers.sentences import fit_rested_speech
from latentsync.speakers.voice import random_voice
from latentsync.verbosity import bars_off
from latentsync.workers import Workers

SIZE_PX = 128
CLIP_PX, SECONDS, REST_S = 256, 1.6, 1.4  # shortest speech, longest pause
LEAST_CLIPS = 2
UNDAMAGED = "none"
ROUNDING_DEVIATION = 12**-0.5  # of rounding to whole frames: the smallest standard deviation used for metrics in frames
COLUMNS = ["clip", "damage", "strength", "metric", "value"]
SEEN, UNSEEN = 0.25, 0.05  # shares of the largest change; see `verdicts`
CACHE_BYTES = 2**30  # of what the damaged videos of a clip share


# --- one clip ---


def speak_clip(number: int, target: Path) -> None:
    """Writes a clip of a person who says one or two sentences with pauses, unless the file exists."""
    if target.is_file():
        return
    seed, gender = FIRST_SEED + number, SPEAKER_GENDERS[number % len(SPEAKER_GENDERS)]
    voice = random_voice(seed, gender)
    sentence, speech = fit_rested_speech(voice, SECONDS, REST_S, seed)
    identity, view_mm = random_identity(seed, gender), random_framing(seed)
    clip = render_clip(
        identity, sentence, voice, seed, CLIP_PX, view_mm=view_mm, liveliness=1.0, speech=speech
    )  # the other defaults give plain speech in a clean recording
    write_clip(clip, target)


class WholeClip:
    """A clip that is its own reference. It is read, aligned and embedded once for all damages.

    Args:
        clip, other: videos with their sound beside them (.wav); the sound of `other` is the wrong voice.
    """

    def __init__(self, clip: Path, other: Path, detector: MediaPipeLandmarks | None = None) -> None:
        self.clip, self.detector = clip, detector or MediaPipeLandmarks()
        self.frames = list(media.read_frames(clip, VIDEO_RATE_HZ))
        self.faces = align(self.frames, self.detector, SIZE_PX)
        self.crops = aligned_crops(self.frames, self.faces.matrices, SIZE_PX)
        self.voice, self.wrong = (media.read_sound(path.with_suffix(".wav"), SOUND_RATE_HZ) for path in (clip, other))
        self._folder = tempfile.TemporaryDirectory(prefix="sensitivity-")  # as long as this object is there
        self._shared = StageCache(Path(self._folder.name), CACHE_BYTES)

    def values(self, wanted: MetricsConfig, step: tuple[str, float]) -> pd.DataFrame:
        """The metrics of the clip with a damage.

        Args:
            step: damage and strength; ("none", 0) has only the loss by composite and codec.

        Returns:
            One row per value: clip, damage, strength, metric, value (NaN if missing).
        """
        name, strength = step
        with tempfile.TemporaryDirectory(prefix="sensitivity-") as folder:
            sound, video = Path(folder) / "voice.wav", Path(folder) / "damaged.mp4"
            damage = damage_of(name)
            heard = self.voice if damage.voice is None else damage.voice(self.voice, self.wrong, strength)
            write_wav(sound, to_int16(heard))
            self._write(video, step)
            result = Result(video, self.clip, sound, list(range(len(self.frames))), self.faces, window=WINDOW_FRAMES)
            entries = measured(result, wanted, self.detector, "own", self._shared).entries
        rows = [(self.clip.stem, name, strength, metric, entry["value"]) for metric, entry in entries.items()]
        return pd.DataFrame(rows, columns=COLUMNS).astype({"value": float})

    def faces_with(self, step: tuple[str, float]) -> np.ndarray:
        """The aligned faces of the clip with a damage, after composite and codec, uint8 (f, 128, 128, 3)."""
        with tempfile.TemporaryDirectory(prefix="sensitivity-") as folder:
            self._write(video := Path(folder) / "damaged.mp4", step)
            frames = media.read_frames(video, VIDEO_RATE_HZ)
            return np.stack(list(aligned_pictures(frames, self.faces.matrices, SIZE_PX)))

    def _write(self, target: Path, step: tuple[str, float]) -> None:
        (name, strength), (height, width) = step, self.faces.frame_size
        pixels = crops_to_pixels(damaged(self.crops, damage_of(name), strength))
        with VideoWriter(target, width, height, crf=round(strength) if damage_of(name).crf else CRF) as writer:
            for frame, face, matrix in zip(self.frames, pixels, self.faces.matrices, strict=True):
                writer.write(restore(frame, face, matrix))


def damage_of(name: str) -> Damage:
    """The damage with this name; "none" does nothing."""
    return Damage("", (0, 0, 0)) if name == UNDAMAGED else DAMAGES[name]


def side_by_side(clips: Sequence[WholeClip], wanted: MetricsConfig, steps: Sequence[tuple[str, float]]) -> pd.DataFrame:
    """The values of several clips with each damage, in one thread per clip; rows as in `WholeClip.values`."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # the clips share the cores
    try:
        with ThreadPoolExecutor(len(clips)) as pool:
            tables = pool.map(lambda clip: pd.concat([clip.values(wanted, step) for step in steps]), clips)
            return pd.concat(tables, ignore_index=True)
    finally:
        torch.set_num_threads(before)


def all_steps(strongest: bool = False) -> list[tuple[str, float]]:
    """All steps: no damage, then each damage with each of its strengths."""
    first = len(next(iter(DAMAGES.values())).strengths) - 1 if strongest else 0
    damages = [(name, strength) for name, damage in DAMAGES.items() for strength in damage.strengths[first:]]
    return [(UNDAMAGED, 0.0), *damages]


# --- effects ---


def effects(values: pd.DataFrame) -> pd.DataFrame:
    """How much worse each metric becomes under each damage, in standard deviations of the undamaged clips.

    Worse means lower or higher, or farther from 0 or 1, as the metric's direction says. A clip counts if it has both
    values.

    Returns:
        One row per metric, damage and strength: `effect` (above 0 is worse; NaN if fewer than 2 clips have a value),
        `low`, `high` (its 95 % interval over clips, Student's t, with the deviation taken as known), `undamaged`,
        `damaged` (means), `deviation`, `clips`, and `lost` (clips that lost their value by the damage).
    """
    table = values.set_index(["metric", "damage", "strength", "clip"])["value"].sort_index()
    damaged_rows = values[values["damage"] != UNDAMAGED]
    steps, rows = list(dict.fromkeys(zip(damaged_rows["damage"], damaged_rows["strength"], strict=True))), []
    for metric in dict.fromkeys(values["metric"]):
        whole = table[metric, UNDAMAGED, 0.0].dropna()
        least = ROUNDING_DEVIATION if definition_of(metric).unit == "frames" else 0.0
        deviation = max(whole.std(), least) if len(whole) > 1 else np.nan
        for damage, strength in steps:
            if (metric, damage, strength) not in table.index.droplevel("clip"):
                continue
            hurt = table[metric, damage, strength].reindex(whole.index)
            both = hurt.dropna()
            worse = badness(metric, both) - badness(metric, whole.reindex(both.index))
            has_effect = len(both) > 1 and deviation > 0
            effect = worse.mean() / deviation if has_effect else np.nan
            is_same = (
                has_effect and np.ptp(worse) <= DUST * np.abs(worse).max()
            )  # a shift of 10 frames is one of each clip
            low, high = (effect, effect) if is_same else (np.nan, np.nan)
            if has_effect and (interval := mean_interval(worse / deviation)):
                low, high = interval
            rows.append((metric, damage, strength, effect, low, high, whole.mean(), both.mean(), deviation, len(both),
                         int(hurt.isna().sum())))  # fmt: skip
    names = ["metric", "damage", "strength", "effect", "low", "high", "undamaged", "damaged", "deviation", "clips",
             "lost"]  # fmt: skip
    return pd.DataFrame(rows, columns=names)


def changes(values: pd.DataFrame) -> pd.DataFrame:
    """The change of each metric under each damage, and its share of the metric's largest change. A few clips suffice.

    Returns:
        One row per metric, damage and strength: `undamaged`, `damaged` (means over clips that have both), `worse` (how
        much worse it became, mean over clips), `change` (damaged minus undamaged; for metrics that should be 0 or 1 it
        is `worse`, because offsets of different signs would cancel out) and `share` (`worse` divided by the metric's
        largest absolute value of it; NaN if no damage changes the metric).
    """
    table = values[values["metric"].map(judged)].pivot(index=["damage", "strength", "metric"], columns="clip")["value"]
    rows = []
    for (damage, strength, metric), hurt in table.iterrows():
        whole = table.loc[UNDAMAGED, 0.0, metric]
        known = whole.notna() & hurt.notna()
        whole, hurt = whole[known], hurt[known]
        worse = (badness(metric, hurt) - badness(metric, whole)).mean()
        change = worse if direction_of(metric) in ("zero", "one") else hurt.mean() - whole.mean()
        rows.append((metric, damage, strength, whole.mean(), hurt.mean(), change, worse))
    names = ["metric", "damage", "strength", "undamaged", "damaged", "change", "worse"]
    all_changes = pd.DataFrame(rows, columns=names)
    largest = all_changes.groupby("metric")["worse"].transform(lambda worse: worse.abs().max())
    all_changes["share"] = (all_changes["worse"] / largest).where(largest > 0)
    order = {name: place for place, name in enumerate(dict.fromkeys(values["metric"]))}
    steps = {step: place for place, step in enumerate(zip(values["damage"], values["strength"], strict=True))}
    places = [(order[row.metric], steps[row.damage, row.strength]) for row in all_changes.itertuples()]
    ordered = all_changes.iloc[sorted(range(len(all_changes)), key=places.__getitem__)]
    return ordered[ordered["damage"] != UNDAMAGED].reset_index(drop=True)


def verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """Which damages each metric reacts to, each at its strongest tested step.

    Args:
        table: a table of `changes`.

    Returns:
        One row per metric: `most` (the damage that makes it worst), `sees` (other damages with at least a quarter of
        that effect), `calls better` (damages with such an effect of the opposite sign), `blind to` (damages with less
        than a twentieth of it, with either sign).
    """
    strongest = table.loc[table.groupby(["metric", "damage"], sort=False)["strength"].idxmax()]
    rows = {}
    for metric, of_metric in strongest.dropna(subset="share").groupby("metric", sort=False):
        share = of_metric.set_index("damage")["share"].sort_values(ascending=False)
        rows[metric] = {
            "most": share.index[0],
            "sees": ", ".join(share.index[1:][share[1:] >= SEEN]),
            "calls better": ", ".join(share.index[share <= -SEEN]),
            "blind to": ", ".join(share.index[share.abs() < UNSEEN]),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("metric")


def badness(metric: str, values: pd.Series) -> pd.Series:
    """The values, transformed so that larger is worse."""
    direction = direction_of(metric)
    if direction in ("zero", "one"):
        return (values - (direction == "one")).abs()
    return values if direction == "lower" else -values


def judged(metric: str) -> bool:
    """Whether a metric belongs in the table; metrics of the real clip and of controls do not depend on the damage."""
    return direction_of(metric) != "none" and not metric.endswith("_minus_real")


# --- many clips ---


def known_values(path: Path) -> pd.DataFrame:
    """The values of a clip that were measured earlier."""
    rows = (find_json(path) or {"rows": []})["rows"]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"value": float})


def _add_values(clip: Path, other: Path, wanted: MetricsConfig, steps: Sequence[tuple[str, float]]) -> None:
    """Measures the values that a clip's file lacks, step by step. The file is complete after each step."""
    torch.set_num_threads(1)  # the workers share the cores
    target, whole = _values_path(clip), None
    values = known_values(target)
    for step in steps:
        done = values[(values["damage"] == step[0]) & (values["strength"] == step[1])]
        families = {definition_of(metric).family for metric in done["metric"]}
        if missing := [name for name in wanted.families if name not in families]:
            whole = whole or WholeClip(clip, other)
            new_values = whole.values(MetricsConfig.of(missing), step)
            values = new_values if values.empty else pd.concat([values, new_values], ignore_index=True)
            write_json(target, {"rows": values.astype(object).where(values.notna(), None).values.tolist()})


def _values_path(clip: Path) -> Path:
    return clip.with_suffix(".values.json")


def measure_clips(
    folder: Path, count: int, wanted: MetricsConfig, steps: Sequence[tuple[str, float]], workers: int
) -> pd.DataFrame:
    """Makes the missing clips and values. The wrong voice of each clip is that of the next clip."""
    folder.mkdir(parents=True, exist_ok=True)
    clips = [
        folder / f"{SPEAKER_GENDERS[number % len(SPEAKER_GENDERS)][0]}-{number:02d}.mp4" for number in range(count)
    ]
    with Workers(workers) as pool:
        list(pool.map(speak_clip, range(count), clips))
        jobs = [
            pool.submit(_add_values, *two, wanted, steps) for two in zip(clips, [*clips[1:], clips[0]], strict=True)
        ]
        for done in tqdm(as_completed(jobs), total=len(jobs), unit="clip", disable=bars_off()):
            done.result()
    return pd.concat([known_values(_values_path(clip)) for clip in clips], ignore_index=True)


def study(
    folder: Path, count: int = 12, metrics: str = "standard", strongest: bool = False, workers: int = 1
) -> pd.DataFrame:
    """Measures missing values, and writes clips/, values.parquet and sensitivity.csv.

    Args:
        folder: the folder of the study; its earlier values are kept and shown with the new ones.
        count: number of clips, at least 2.
        metrics: a set or families, as for `measuring.records.wanted_of`.
        strongest: whether to use only the strongest step of each damage.
        workers: number of processes.

    Returns:
        The table of `effects`.

    Raises:
        OptionError: a number is too small, or a name is unknown.
    """
    if count < LEAST_CLIPS or workers < 1:
        raise OptionError(f"--clips is {count} and --workers {workers}; at least {LEAST_CLIPS} and 1 are needed")
    values = measure_clips(folder / "clips", count, wanted_of(metrics), all_steps(strongest), workers)
    table = effects(values[values["metric"].map(judged)])
    write_table(values, folder / "values.parquet")
    write_table(table.round(4), folder / "sensitivity.csv")
    return table


def strongest_effects(table: pd.DataFrame) -> pd.DataFrame:
    """The effects of each damage at its strongest step: one row per metric, one column per damage.

    Args:
        table: a table of `effects`.
    """
    strongest = table.loc[table.groupby(["metric", "damage"])["strength"].idxmax()]
    effects_table = strongest.pivot(index="metric", columns="damage", values="effect").reindex(columns=list(DAMAGES))
    return effects_table.reindex(list(dict.fromkeys(table["metric"])))
