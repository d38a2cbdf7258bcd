"""The cost of records in time and disk space, estimated from finished records.

Time depends on the number of frames and of passes through the network.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from latentsync.config import recorded_infos, recorded_options
from latentsync.lab.records.store import RecordStore

if TYPE_CHECKING:
    import pandas as pd

    from latentsync.pipeline import LipsyncPipeline

OF_GUIDANCE = ("guidance_schedule", "guidance_interval", "guidance_every")  # decide how many steps are guided


@dataclass(frozen=True)
class Pace:
    """The speed of a machine, in s: `once` for each frame, and `step` for each frame and sampling step."""

    once: float
    step: float

    def seconds(self, table: "pd.DataFrame") -> "pd.Series":
        """The estimated seconds of the records in a wide table that use guidance, or use none, as the measured ones."""
        return table["video_frames"] * (self.once + self.step * table["num_inference_steps"])


def measured_pace(
    pipe: "LipsyncPipeline", clip: Path, voice: Path, steps: Sequence[int] = (2, 8), **options: Any
) -> Pace:
    """The pace of a pipeline on this machine, measured by one call for each number of steps.

    Args:
        options: options of the call, see `LipsyncPipeline.__call__`.

    Raises:
        MediaError, FaceNotFoundError, OptionError: as for the call.
    """
    outputs = [(number, pipe(clip, voice, num_inference_steps=number, **options)) for number in steps]
    denoise = sum(result.timings["denoise"] for _, result in outputs)
    rest = sum(result.timings["total"] for _, result in outputs) - denoise
    frames = sum(result.num_frames for _, result in outputs)
    return Pace(rest / frames, denoise / sum(number * result.num_frames for number, result in outputs))


@dataclass(frozen=True)
class Work:
    """Everything that the time of a record depends on.

    Attributes:
        kind: model, device, attention backend and the options that change the time of a pass. Records of different
            kinds cannot be compared.
        num_frames: frames of the video.
        num_denoised: frames of all windows; they are more if windows share frames.
        passes: passes of the network over each frame: one for a step without guidance, two for a step with guidance.
            With DeepCache a pass counts as one whether it is whole or not. Its interval and final steps are part of
            the kind, so that the time of a pass is the mean of both sorts.
    """

    kind: tuple
    num_frames: int
    num_denoised: int
    passes: int

    @property
    def frame_passes(self) -> int:
        """Passes of the network times the frames that they run over."""
        return self.num_denoised * self.passes

    @classmethod
    def of(cls, model: str, device: str, parts: dict, num_frames: int) -> "Work":
        """The work of a record, from the values that its id covers; see `records.identity`."""
        from latentsync.generation.overlap import windows_of  # imports torch, which a plan may not need

        options = parts["options"]
        in_cost = (name for name, info in recorded_infos().items() if info.in_cost)
        known = {**recorded_options(options), "attention": parts["attention"]}
        kind = (model, device, *(known[name] for name in in_cost))
        windows = windows_of(num_frames, options["num_frames"], known["window_overlap"])
        num_denoised = sum(stop - start for start, stop in windows)
        return cls(kind, num_frames, num_denoised, _num_passes(parts["networks"]["scheduler"], options))


def _num_passes(scheduler: dict, options: dict) -> int:
    names = ("num_inference_steps", "guidance_scale", "scheduler", *OF_GUIDANCE)
    known = recorded_options(options)
    chosen = json.dumps({name: known[name] for name in names}, sort_keys=True)
    return _counted_passes(json.dumps(scheduler, sort_keys=True), chosen)


@lru_cache(maxsize=1024)  # many cells differ only in their seeds
def _counted_passes(scheduler: str, options: str) -> int:
    from diffusers import DDIMScheduler  # imports torch, which a plan may not need

    from latentsync.generation.denoise import num_passes

    chosen = json.loads(options)
    return num_passes(
        DDIMScheduler.from_config(json.loads(scheduler)),
        chosen["num_inference_steps"],
        chosen["guidance_scale"],
        solver=chosen["scheduler"],
        **{name: chosen[name] for name in OF_GUIDANCE},
    )


def _rest(kind: tuple) -> tuple:
    """A kind of work without the device and the precision."""
    model, _, *options = kind
    names = [name for name, info in recorded_infos().items() if info.in_cost]
    return model, *(value for name, value in zip(names, options, strict=True) if name != "dtype")


@dataclass(frozen=True)
class Cost:
    """Medians over the records of one kind: seconds per frame and pass, other seconds per frame, bytes per frame."""

    seconds_a_pass: float
    seconds_a_frame: float
    bytes_a_frame: float
    number: int


def costs(store: RecordStore) -> dict[tuple, Cost]:
    """The cost of finished records by kind, from their files on disk and their own timings."""
    measured: dict[tuple, list[tuple[float, float, float]]] = {}
    for record in store.all():
        try:
            content, timings = record.content, record.content["timings_s"]
            frames = content["video"]["num_frames"]
            work = Work.of(content["model"]["name"], content["options"]["device"], content["identity"], frames)
            denoise, whole = timings["denoise"], timings["total"] + timings["measure"]
            size = sum(path.stat().st_size for path in record.folder.iterdir())
        except (KeyError, TypeError, OSError):  # a record of another version, an edited one, or one just moved
            continue
        each = denoise / work.frame_passes, (whole - denoise) / frames, size / frames
        measured.setdefault(work.kind, []).append(each)
    return {kind: Cost(*(median(c) for c in zip(*each, strict=True)), len(each)) for kind, each in measured.items()}


def estimate(works: list[Work], known: dict[tuple, Cost], is_here: bool = True) -> str:
    """The time and disk space that records will take, estimated from finished records of their kind.

    Records without such a finished record are counted as unknown.

    Args:
        is_here: whether they will be made on this machine. Otherwise records of any device and precision count.
    """
    if not is_here:
        by_rest = {_rest(kind): kind for kind in sorted(known, key=lambda kind: known[kind].number)}
        works = [replace(work, kind=by_rest.get(_rest(work.kind), work.kind)) for work in works]
    works_and_costs = [(work, known[work.kind]) for work in works if work.kind in known]
    lines = []
    if works_and_costs:
        seconds = sum(w.frame_passes * c.seconds_a_pass + w.num_frames * c.seconds_a_frame for w, c in works_and_costs)
        size = sum(w.num_frames * c.bytes_a_frame for w, c in works_and_costs)
        number = sum(known[kind].number for kind in {work.kind for work, _ in works_and_costs})
        lines.append(
            f"{len(works_and_costs)} records will take about {duration_text(seconds)} one after the other and "
            f"{size / 1e6:.1f} MB (estimated from {number} earlier records of the same model, size, precision and "
            f"device, with their metrics)"
        )
    if len(works_and_costs) < len(works):
        lines.append(
            f"{len(works) - len(works_and_costs)} records: time and disk space unknown, because there is no earlier "
            f"record of the same model, size, precision and device"
        )
    return "\n".join(lines)


def duration_text(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
