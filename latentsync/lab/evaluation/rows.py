"""The rows of the evaluation: each has a bar, a value over held-out clips, and whether the value reaches the bar.

A value is a mean over clips with a 95 % interval. The baselines are the scores of a model that does nothing (the
unchanged input, a frozen mouth). A bar that a baseline reaches has no meaning.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from latentsync.lab.analysis.intervals import (
    Interval,
    difference_interval,
    mean_interval,
    ratio_interval,
    share_interval,
)
from latentsync.lab.evaluation.material import Case
from latentsync.lab.evaluation.measures import (
    GUIDANCE_SCALE,
    LPIPS_EVERY,
    MAX_INJECTED,
    OFFSET_TOLERANCE,
    VAE_EVERY,
    Bench,
    Dub,
)
from latentsync.metrics.perceptual import lpips_hash

INPUT, FROZEN, REFERENCE = "output = input", "frozen mouth", "copied reference"
BASELINE_NAMES = (INPUT, FROZEN, REFERENCE)
BASELINES = {INPUT: "input", FROZEN: "frozen"}

LIP_PROTOCOL = (
    "Pearson over time of MediaPipe's lip gap (13, 14; in eye distances) in the composited frames with the drawn gap "
    "of the voice's speech, per clip, mean over clips"
)
SYNC_PROTOCOL = "the model's own SyncNet: median less least of the mean cosine distance over shifts of -15..15 frames"


@dataclass(frozen=True)
class Bar:
    """A bound for a value: at least, or at most."""

    bound: float
    at_least: bool = True

    def holds(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.bound:g}"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: the name of the row; `part` is the part of the evaluation that it belongs to, as in `--rows`.
        what, protocol: a short and a full description of the value.
        value, interval: None if there is a `reason`.
        number: number of clips or pairs.
        bar: None if there is no bar.
        baselines: their values by name.
        note: more about the value.
        is_void: whether the value has no meaning, because the judging network has not been trained.
        each: the values by case.
    """

    name: str
    part: str
    what: str
    protocol: str
    value: float | None
    interval: Interval | None
    number: int
    bar: Bar | None = None
    baselines: dict[str, float] = field(default_factory=dict)
    note: str = ""
    reason: str | None = None
    each: dict[str, float | list] = field(default_factory=dict)
    is_void: bool = False

    @property
    def passed(self) -> bool | None:
        """Whether the value reaches the bar; None without a bar or a trained judge. A missing value fails."""
        if self.bar is None or self.is_void:
            return None
        return self.value is not None and self.bar.holds(self.value)

    @property
    def idle_baselines(self) -> list[str]:
        """The baselines that reach the bar; there should be none."""
        if self.bar is None or self.is_void:
            return []
        return [name for name, value in self.baselines.items() if self.bar.holds(value)]


def _of_means(name: str, part: str, what: str, protocol: str, each: dict[str, float], bar: Bar | None, **more) -> Row:
    """A row with a mean over cases and its t interval."""
    values = list(each.values())
    return _row(
        name, part, what, protocol, float(np.mean(values)), mean_interval(values), len(values), bar, each, **more
    )


def _row(
    name: str, part: str, what: str, protocol: str, value: float, interval: Interval | None, number: int,
    bar: Bar | None, each: dict, **more,
) -> Row:  # fmt: skip
    """A row. A value that is not finite becomes None with a reason."""
    if not math.isfinite(value):
        more["reason"] = "the value is no finite number"
        return Row(name, part, what, protocol, None, None, number, bar, each=each, **more)
    return Row(name, part, what, protocol, value, interval, number, bar, each=each, **more)


def _mean(dubs: Sequence[Dub], measure: str, name: str) -> float:
    return float(np.mean([getattr(dub, measure)[name] for dub in dubs]))


def _dubbed(bench: Bench, cases: Sequence[Case]) -> dict[str, Dub]:
    return {case.name: bench.dub(case) for case in cases}


# --- the parts ---


def vae(bench: Bench) -> list[Row]:
    """Row `vae`: how well the autoencoder preserves a face."""
    each = {case.name: bench.round_trip_psnr(case.clip) for case in bench.material.cases}
    protocol = f"every {VAE_EVERY}th crop through the posterior's mean, PSNR per clip over 0..255, mean over clips"
    return [_of_means("vae", "vae", "round trip, PSNR in dB", protocol, each, Bar(33))]


def sync(bench: Bench) -> list[Row]:
    """Rows `sync_true` and `sync_injected`: whether the judging SyncNet measures known offsets."""
    clips = [clip for case in bench.material.cases for clip in (case.clip, case.wanted)]
    by_clip = {clip.video.stem: bench.offsets(clip) for clip in clips}
    rows = []
    for name, what, injected in (
        ("sync_true", "right offset, share of true clips", [0]),
        (
            "sync_injected",
            f"right offset, share of shifts of -{MAX_INJECTED}..{MAX_INJECTED} frames",
            range(-MAX_INJECTED, MAX_INJECTED + 1),
        ),
    ):
        shares = {
            clip: float(np.mean([abs(offsets[o] - o) <= OFFSET_TOLERANCE for o in injected]))
            for clip, offsets in by_clip.items()
        }
        exact = float(np.mean([offsets[o] == o for offsets in by_clip.values() for o in injected]))
        share = float(np.mean(list(shares.values())))
        protocol = f"argmin of {SYNC_PROTOCOL}; right within {OFFSET_TOLERANCE} frame; interval: Wilson's over clips"
        interval = share_interval(share, len(shares))
        note = f"to the frame: {exact:.3f}"
        rows.append(_row(name, "sync", what, protocol, share, interval, len(shares), Bar(0.95), shares, note=note))
    return rows


def lip(bench: Bench) -> list[Row]:
    """Rows `lip`, `lip_of_ceiling` and `lip_wrong`: whether the mouth follows the voice, and no other voice."""
    dubs = _dubbed(bench, bench.material.cases)
    values = list(dubs.values())
    baselines = {label: _mean(values, "lips", name) for label, name in BASELINES.items()}
    each = {name: dub.lips["generated"] for name, dub in dubs.items()}
    ceiling = _mean(values, "lips", "true")
    kinds = {
        kind: [each[c.name] for c in bench.material.cases if c.voice_kind == kind] for kind in ("held out", "random")
    }
    note = "; ".join([f"ceiling {ceiling:.3f}", *(f"{kind} voice {np.mean(v):.3f}" for kind, v in kinds.items() if v)])
    what = "lips follow the voice, correlation"
    rows = [_of_means("lip", "lip", what, LIP_PROTOCOL, each, Bar(0.75), baselines=baselines, note=note)]
    ratio, interval = _ratio([d.lips["generated"] for d in values], [d.lips["true"] for d in values])
    protocol = f"{LIP_PROTOCOL}, over that of the person drawn saying it; interval: bootstrap over clips"
    shares = {label: value / ceiling for label, value in baselines.items() if ceiling > 0}
    what = "the same, share of the ceiling"
    rows.append(
        _row("lip_of_ceiling", "lip", what, protocol, ratio, interval, len(values), Bar(0.9), {}, baselines=shares)
    )
    wrong = {name: dub.lips["wrong"] for name, dub in dubs.items()}
    protocol = f"{LIP_PROTOCOL}; with the speech of the input clip"
    what = "lips follow a wrong sentence, correlation"
    rows.append(_of_means("lip_wrong", "lip", what, protocol, wrong, Bar(0.25, False)))
    return rows


def real(bench: Bench) -> list[Row]:
    """Row `real`: whether the lips follow real recordings."""
    dubs = _dubbed(bench, bench.material.real_cases)
    baselines = {label: _mean(list(dubs.values()), "lips", name) for label, name in BASELINES.items()}
    each = {name: dub.lips["generated"] for name, dub in dubs.items()}
    note = f"ceiling {_mean(list(dubs.values()), 'lips', 'true'):.3f}; {len(each)} clips of LibriVox, one speaker each"
    protocol = f"{LIP_PROTOCOL}; phones by PocketSphinx"
    what = "lips follow real recordings, correlation"
    return [_of_means("real", "real", what, protocol, each, Bar(0.65), baselines=baselines, note=note)]


def self_reconstruction(bench: Bench) -> list[Row]:
    """Rows `self_psnr` and `self_lpips`: a clip with its own voice."""
    by_case = {case.name: bench.self_dub(case) for case in bench.material.cases[: bench.plan.self_cases]}
    protocols = {
        "psnr": "PSNR in the mask's hole of the crops over 0..255, per clip, mean over clips",
        "lpips": f"LPIPS v0.1, AlexNet, weights {lpips_hash()}, whole crops, one frame in {LPIPS_EVERY}, "
        "mean over frames and clips",
    }
    rows = []
    for measure, what, bar in (
        ("psnr", "own voice, PSNR in dB", Bar(27)),
        ("lpips", "own voice, LPIPS", Bar(0.05, False)),
    ):
        by_name = {name: getattr(dub, measure) for name, dub in by_case.items()}
        baselines = {
            label: float(np.mean([values[name] for values in by_name.values()]))
            for label, name in ((REFERENCE, "reference"), (FROZEN, "frozen"))
        }
        each = {name: values["generated"] for name, values in by_name.items()}
        protocol = f"{protocols[measure]}; reference=elsewhere"
        rows.append(_of_means(f"self_{measure}", "self", what, protocol, each, bar, baselines=baselines))
    return rows


def silence(bench: Bench) -> list[Row]:
    """Row `silence`: whether the mouth rests without speech."""
    cases = bench.material.cases[: bench.plan.silent_cases]
    silent = {case.name: bench.silent_motion(case) for case in cases}
    moving = [bench.dub(case).motion["generated"] for case in cases]
    ratio, interval = _ratio(list(silent.values()), moving)
    baselines = {INPUT: float(np.mean([bench.dub(case).motion["input"] for case in cases]) / np.mean(moving))}
    protocol = (
        "standard deviation over time of MediaPipe's lip gap, dubbed with noise of -60 dBFS over dubbed with speech, "
        "means over clips; interval: bootstrap over clips"
    )
    each = {name: [value, speech] for (name, value), speech in zip(silent.items(), moving, strict=True)}
    what = "lip motion in silence, relative to speech"
    more = {"baselines": _finite(baselines), "note": "a frozen mouth is at rest by nature, so it is no baseline here"}
    return [_row("silence", "silence", what, protocol, ratio, interval, len(cases), Bar(0.15, False), each, **more)]


def sync_confidence(bench: Bench) -> list[Row]:
    """Rows `sync_confidence` and `sync_confidence_wrong`: sync as judged by the model's own SyncNet."""
    dubs = _dubbed(bench, bench.material.cases)
    values = list(dubs.values())
    true = [dub.confidence["true"] for dub in values]
    protocol = f"sync_mini_confidence ({SYNC_PROTOCOL}), means over clips; interval: bootstrap over clips"
    rows = []
    for name, of, what, bar in (
        ("sync_confidence", "generated", "sync_mini_confidence, relative to true clips", Bar(0.8)),
        ("sync_confidence_wrong", "wrong", "the same with the input clip's sound", Bar(0.3, False)),
    ):
        ratio, interval = _ratio([dub.confidence[of] for dub in values], true)
        baselines = {}
        if of == "generated":
            baselines = {label: _mean(values, "confidence", key) / np.mean(true) for label, key in BASELINES.items()}
        each = {key: [dub.confidence[of], dub.confidence["true"]] for key, dub in dubs.items()}
        more = {"baselines": _finite(baselines), "note": f"true clips {np.mean(true):.3f}"}
        rows.append(_row(name, "sync_confidence", what, protocol, ratio, interval, len(values), bar, each, **more))
    return rows


def guidance(bench: Bench) -> list[Row]:
    """Row `guidance`: whether more guidance gives more sync; it has no bar."""
    plan, cases = bench.plan, bench.material.cases[: bench.plan.guidance_cases]
    confidences = {case.name: bench.guidance_confidences(case).mean(axis=1) for case in cases}
    by_scale = np.stack(list(confidences.values())).T
    steps = list(zip(plan.guidance_scales, plan.guidance_scales[1:], by_scale, by_scale[1:], strict=False))
    differences = [(a, b, float((y - x).mean()), difference_interval(y, x)) for a, b, x, y in steps]
    whole = float((by_scale[-1] - by_scale[0]).mean())
    interval = difference_interval(by_scale[-1], by_scale[0])
    means = ", ".join(
        f"{scale:g}: {mean:.4f}" for scale, mean in zip(plan.guidance_scales, by_scale.mean(1), strict=True)
    )
    text = "; ".join(f"{a:g} to {b:g} {d:+.4f} {_interval_text(i)}" for a, b, d, i in differences)
    note = f"{verdict([i for *_, i in differences], interval)}; means {means}; {text}"
    protocol = (
        f"sync_mini_confidence of the first {plan.guidance_frames} frames, {plan.guidance_steps} steps, "
        f"{len(plan.guidance_seeds)} seeds averaged within a pair; paired t intervals over pairs"
    )
    what = f"sync_mini_confidence, guidance {plan.guidance_scales[-1]:g} less {plan.guidance_scales[0]:g}"
    each = {name: values.tolist() for name, values in confidences.items()}
    return [_row("guidance", "guidance", what, protocol, whole, interval, len(cases), None, each, note=note)]


def speed(bench: Bench) -> list[Row]:
    """Row `speed`: the speed of the whole pipeline."""
    plan = bench.plan
    protocol = (
        f"files to file, 512x512 px, {plan.steps} steps, guidance {GUIDANCE_SCALE:g}, call {plan.speed_calls}, "
        "by the pipeline's own timings"
    )
    note = f"{bench.pipe.device} in {bench.options(1).runtime.dtype}, {torch.get_num_threads()} threads"
    return [_row("speed", "speed", "frames/s", protocol, bench.frames_per_second(), None, 1, Bar(5), {}, note=note)]


PARTS: dict[str, Callable[[Bench], list[Row]]] = {
    "vae": vae,
    "sync": sync,
    "lip": lip,
    "real": real,
    "self": self_reconstruction,
    "silence": silence,
    "sync_confidence": sync_confidence,
    "guidance": guidance,
    "speed": speed,
}
JUDGED_BY_SYNCNET = ("sync", "sync_confidence", "guidance")


def measured(part: str, bench: Bench) -> list[Row]:
    """The rows of a part; void if the judging SyncNet has not been trained."""
    is_void = part in JUDGED_BY_SYNCNET and not bench.is_syncnet_trained
    return [replace(row, is_void=is_void) for row in PARTS[part](bench)]


# --- arithmetic ---


def _ratio(upper: Sequence[float], lower: Sequence[float]) -> tuple[float, Interval | None]:
    """The ratio of two means; NaN if the lower one is not above 0."""
    below = float(np.mean(lower))
    return (float(np.mean(upper)) / below, ratio_interval(upper, lower)) if below > 0 else (math.nan, None)


def _finite(values: dict[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if math.isfinite(value)}


def _interval_text(interval: Interval | None) -> str:
    return "" if interval is None else f"[{interval[0]:+.4f}, {interval[1]:+.4f}]"


def _sign(interval: Interval | None) -> int:
    """1 or -1 if the interval is on one side of 0, else 0."""
    return 0 if interval is None else int(interval[0] > 0) - int(interval[1] < 0)


def verdict(steps: Sequence[Interval | None], whole: Interval | None) -> str:
    """The trend over neighbouring settings in words. A difference whose interval contains 0 counts as flat."""
    signs = {_sign(step) for step in steps} | {_sign(whole)}
    if {1, -1} <= signs:
        return "rising, then falling" if _sign(steps[0]) > 0 else "falling, then rising"
    return "rising" if 1 in signs else "falling" if -1 in signs else "flat"
