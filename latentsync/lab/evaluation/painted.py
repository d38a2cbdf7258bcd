"""The rows on painted people: each is a value over held-out clips that no training saw."""

from collections.abc import Sequence

import numpy as np
import torch

from latentsync.lab.analysis.intervals import Interval, difference_interval, share_interval
from latentsync.lab.evaluation.material import Case
from latentsync.lab.evaluation.measures import (
    GUIDANCE_SCALE,
    MAX_INJECTED,
    OFFSET_TOLERANCE,
    VAE_EVERY,
    Bench,
    Dub,
)
from latentsync.lab.evaluation.reconstruction import COPIED, DECODED, GENERATED, LPIPS_EVERY, OUTCOMES, STILL, VIEW_PX
from latentsync.lab.evaluation.rows import (
    FROZEN,
    INPUT,
    REFERENCE,
    Row,
    finite,
    ratio_of,
    row_of,
    row_of_differences,
    row_of_means,
)
from latentsync.metrics.perceptual import lpips_hash

BASELINES = {INPUT: "input", FROZEN: "frozen"}
SELF_BASELINES = {REFERENCE: COPIED, FROZEN: STILL}

LIP_PROTOCOL = (
    "Pearson over time of MediaPipe's lip gap (13, 14; in eye distances) in the composited frames with the drawn gap "
    "of the voice's speech, per clip, mean over clips"
)
LPIPS_PROTOCOL = f"LPIPS v0.1, AlexNet, weights {lpips_hash()}"
SYNC_PROTOCOL = "the model's own SyncNet: median less least of the mean cosine distance over shifts of -15..15 frames"


def _mean(dubs: Sequence[Dub], measure: str, name: str) -> float:
    return float(np.mean([getattr(dub, measure)[name] for dub in dubs]))


def _dubbed(bench: Bench, cases: Sequence[Case]) -> dict[str, Dub]:
    return {case.name: bench.dub(case) for case in cases}


def vae(bench: Bench) -> list[Row]:
    """Row `vae`: how well the autoencoder preserves a face."""
    each = {case.name: bench.round_trip_psnr(case.clip) for case in bench.material.cases}
    protocol = f"every {VAE_EVERY}th crop through the posterior's mean, PSNR per clip over 0..255, mean over clips"
    return [row_of_means("vae", "vae", "round trip, PSNR in dB", protocol, each, bench.bars["vae"])]


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
        rows.append(
            row_of(name, "sync", what, protocol, share, interval, len(shares), bench.bars[name], shares, note=note)
        )
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
    rows = [row_of_means("lip", "lip", what, LIP_PROTOCOL, each, bench.bars["lip"], baselines=baselines, note=note)]
    ratio, interval = ratio_of([d.lips["generated"] for d in values], [d.lips["true"] for d in values])
    protocol = f"{LIP_PROTOCOL}, over that of the person drawn saying it; interval: bootstrap over clips"
    shares = {label: value / ceiling for label, value in baselines.items() if ceiling > 0}
    what = "the same, share of the ceiling"
    bar = bench.bars["lip_of_ceiling"]
    rows.append(
        row_of("lip_of_ceiling", "lip", what, protocol, ratio, interval, len(values), bar, {}, baselines=shares)
    )
    wrong = {name: dub.lips["wrong"] for name, dub in dubs.items()}
    protocol = f"{LIP_PROTOCOL}; with the speech of the input clip"
    what = "lips follow a wrong sentence, correlation"
    rows.append(row_of_means("lip_wrong", "lip", what, protocol, wrong, bench.bars["lip_wrong"]))
    return rows


def real(bench: Bench) -> list[Row]:
    """Row `real`: whether the lips follow real recordings."""
    dubs = _dubbed(bench, bench.material.real_cases)
    baselines = {label: _mean(list(dubs.values()), "lips", name) for label, name in BASELINES.items()}
    each = {name: dub.lips["generated"] for name, dub in dubs.items()}
    note = f"ceiling {_mean(list(dubs.values()), 'lips', 'true'):.3f}; {len(each)} clips of LibriVox, one speaker each"
    protocol = f"{LIP_PROTOCOL}; phones by PocketSphinx"
    what = "lips follow real recordings, correlation"
    return [row_of_means("real", "real", what, protocol, each, bench.bars["real"], baselines=baselines, note=note)]


def self_reconstruction(bench: Bench) -> list[Row]:
    """Rows `self_*`: a clip with its own voice, against the clip itself, a copied reference and a frozen mouth."""
    cases = bench.material.cases[: bench.plan.self_cases]
    by_case = {case.name: bench.self_dub(case) for case in cases}
    protocols = {
        "psnr": "PSNR in the mask's hole of the crops over 0..255, per clip, mean over clips",
        "lpips": f"{LPIPS_PROTOCOL}, whole crops, one frame in {LPIPS_EVERY}, mean over frames and clips",
        "mouth_lpips": f"{LPIPS_PROTOCOL}, the box around the mask's hole in crops of {VIEW_PX} px of the composited "
        f"frames, one frame in {LPIPS_EVERY}, mean over frames and clips",
        "jaw": "mean distance of MediaPipe's 15 points of chin and jaw in the composited frames from those in the "
        "clip's frames, both moved, turned and scaled by the eyes, in eye distances, mean over frames and clips",
    }
    rows = []
    for measure, name, what in (
        ("psnr", "self_psnr", "own voice, PSNR in dB"),
        ("lpips", "self_lpips", "own voice, LPIPS"),
        ("mouth_lpips", "self_mouth_lpips", "own voice, LPIPS of the mouth"),
        ("jaw", "jaw", "own voice, jaw line's distance in eye distances"),
    ):
        protocol = f"{protocols[measure]}; reference=elsewhere"
        values = {kind: {case: by[measure][kind] for case, by in by_case.items()} for kind in OUTCOMES}
        baselines = {label: float(np.mean(list(values[kind].values()))) for label, kind in SELF_BASELINES.items()}
        each, bar = values[GENERATED], bench.bars.get(name)
        note = f"the autoencoder alone {np.mean(list(values[DECODED].values())):.3f}"
        rows.append(row_of_means(name, "self", what, protocol, each, bar, baselines=finite(baselines), note=note))
        if measure == "mouth_lpips":
            for label, kind in SELF_BASELINES.items():
                less = f"{name}_{label.split()[0]}"
                words = f"the same, less that of the {label}"
                pair = values[GENERATED], values[kind]
                rows.append(row_of_differences(less, "self", words, protocol, *pair, bench.bars.get(less)))
    return rows


def silence(bench: Bench) -> list[Row]:
    """Row `silence`: whether the mouth rests without speech."""
    cases = bench.material.cases[: bench.plan.silent_cases]
    silent = {case.name: bench.silent_motion(case) for case in cases}
    moving = [bench.dub(case).motion["generated"] for case in cases]
    ratio, interval = ratio_of(list(silent.values()), moving)
    baselines = {INPUT: float(np.mean([bench.dub(case).motion["input"] for case in cases]) / np.mean(moving))}
    protocol = (
        "standard deviation over time of MediaPipe's lip gap, dubbed with noise of -60 dBFS over dubbed with speech, "
        "means over clips; interval: bootstrap over clips"
    )
    each = {name: [value, speech] for (name, value), speech in zip(silent.items(), moving, strict=True)}
    what = "lip motion in silence, relative to speech"
    more = {"baselines": finite(baselines), "note": "a frozen mouth is at rest by nature, so it is no baseline here"}
    bar = bench.bars["silence"]
    return [row_of("silence", "silence", what, protocol, ratio, interval, len(cases), bar, each, **more)]


def sync_confidence(bench: Bench) -> list[Row]:
    """Rows `sync_confidence` and `sync_confidence_wrong`: sync as judged by the model's own SyncNet."""
    dubs = _dubbed(bench, bench.material.cases)
    values = list(dubs.values())
    true = [dub.confidence["true"] for dub in values]
    protocol = f"sync_mini_confidence ({SYNC_PROTOCOL}), means over clips; interval: bootstrap over clips"
    rows = []
    for name, of, what in (
        ("sync_confidence", "generated", "sync_mini_confidence, relative to true clips"),
        ("sync_confidence_wrong", "wrong", "the same with the input clip's sound"),
    ):
        ratio, interval = ratio_of([dub.confidence[of] for dub in values], true)
        baselines = {}
        if of == "generated":
            baselines = {label: _mean(values, "confidence", key) / np.mean(true) for label, key in BASELINES.items()}
        each = {key: [dub.confidence[of], dub.confidence["true"]] for key, dub in dubs.items()}
        more = {"baselines": finite(baselines), "note": f"true clips {np.mean(true):.3f}"}
        bar = bench.bars[name]
        rows.append(row_of(name, "sync_confidence", what, protocol, ratio, interval, len(values), bar, each, **more))
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
    return [row_of("guidance", "guidance", what, protocol, whole, interval, len(cases), None, each, note=note)]


def speed(bench: Bench) -> list[Row]:
    """Row `speed`: the speed of the whole pipeline."""
    plan = bench.plan
    protocol = (
        f"files to file, 512x512 px, {plan.steps} steps, guidance {GUIDANCE_SCALE:g}, call {plan.speed_calls}, "
        "by the pipeline's own timings"
    )
    note = f"{bench.pipe.device} in {bench.options(1).runtime.dtype}, {torch.get_num_threads()} threads"
    speed, bar = bench.frames_per_second(), bench.bars["speed"]
    return [row_of("speed", "speed", "frames/s", protocol, speed, None, 1, bar, {}, note=note)]


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
