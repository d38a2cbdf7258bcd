"""The definition of every measure: its name for readers, unit, better direction, definition in words and source.

Goal: one table for records, tables and docs/metrics.md. A value in a record is an `Entry`. It holds the number, or the
reason why there is none; the definition's unit, direction and version; the network and the hash of its weights, if
there is one; and how many frames or windows counted and were left out.

Conventions: `direction` says what is better: "higher", "lower", "zero" (nearer to 0) or "one" (nearer to 1); "none" if
no direction is. A prefix or suffix changes the meaning of a number, not the computation:
    leaky_NAME: the reference leaks: the model saw the frame to be filled as its own reference frame.
    change_NAME: the voice is not the clip's own, so the number measures change against the clip, not quality.
    NAME_real: of the clip itself with its own sound. NAME_minus_real: the result's value minus that.
    NAME_shuffled, NAME_delayed: controls: the result with a voice in a wrong order, or 10 frames late.
"""

import math
from typing import Any

from latentsync.metrics.definition import Definition
from latentsync.metrics.installed import definitions_of, installed_families

PREFIX_WORDS = {"leaky_": "leaky {}", "change_": "change of {}"}
SUFFIX_WORDS = {
    "_minus_real": "{} minus real clip",
    "_real": "{} of the real clip",
    "_shuffled": "{}, shuffled voice",
    "_delayed": "{}, delayed voice",
}
PREFIXES, SUFFIXES = tuple(PREFIX_WORDS), tuple(SUFFIX_WORDS)
OTHER_CROP = "_mediapipe_crop"  # of a score that was published with another crop

Entry = dict[str, Any]


_LPIPS = "Zhang et al., CVPR 2018 (LPIPS v0.1)"
_SSIM = "Wang et al., IEEE TIP 2004; torchmetrics"
_SYNCNET = "Chung & Zisserman, ACCV-W 2016; names of Prajwal et al., ACM MM 2020"
_OWN = "this project"
_THEVAL = "after arXiv 2511.04520, own definition"
_LIKENESS = "1 - |m - real| / |real| of"
_CROP = "aligned crops, mean over frames with a face"
_MOUTH = "the mouth mask's"

DEFINITIONS: dict[str, Definition] = {
    "lpips_alex": Definition("LPIPS", "lpips", "distance", "lower", f"LPIPS with AlexNet of {_CROP}", _LPIPS),
    "lpips_alex_mouth": Definition(
        "mouth LPIPS", "lpips", "distance", "lower",
        f"the same in {_MOUTH} bounding box, as a picture of its own", _LPIPS,
    ),
    "lpips_vgg": Definition("LPIPS (VGG)", "lpips_vgg", "distance", "lower", f"LPIPS with VGG16 of {_CROP}", _LPIPS),
    "lpips_vgg_mouth": Definition(
        "mouth LPIPS (VGG)", "lpips_vgg", "distance", "lower",
        f"the same in {_MOUTH} bounding box, as a picture of its own", _LPIPS,
    ),
    "psnr": Definition(
        "PSNR", "reconstruction", "dB", "higher",
        "peak 255; mean square over all pixels of all aligned crops", "torchmetrics",
    ),
    "psnr_mouth": Definition(
        "mouth PSNR", "reconstruction", "dB", "higher",
        f"the same over {_MOUTH} pixels", "torchmetrics",
    ),
    "ssim": Definition(
        "SSIM", "reconstruction", "index", "higher",
        f"SSIM, Gaussian 11 px, sigma 1.5, RGB, of {_CROP}", _SSIM,
    ),
    "ssim_mouth": Definition(
        "mouth SSIM", "reconstruction", "index", "higher",
        f"mean of SSIM's map over {_MOUTH} pixels", _SSIM,
    ),
    "lse_c": Definition(
        "LSE-C", "syncnet", "distance", "higher",
        "SyncNet v2, median over shifts of the mean distance, less the least", _SYNCNET,
    ),
    "lse_d": Definition(
        "LSE-D", "syncnet", "distance", "lower",
        "SyncNet v2, least mean distance over shifts", _SYNCNET,
    ),
    "lse_offset": Definition(
        "LSE offset", "syncnet", "frames", "zero",
        "the shift of that least distance; positive where lips come later", _SYNCNET,
    ),
    "stable_syncnet_cosine": Definition(
        "StableSyncNet cosine", "stable_syncnet", "cosine", "higher",
        "StableSyncNet, mean cosine of lips and their speech", "arXiv 2412.09262",
    ),
    "sync_mini_confidence": Definition(
        "mini SyncNet confidence", "sync_mini", "distance", "higher",
        "embedded SyncNet, median over shifts of the mean distance, less the least", _OWN,
    ),
    "sync_mini_distance": Definition(
        "mini SyncNet distance", "sync_mini", "distance", "lower",
        "embedded SyncNet, least mean distance over shifts within 15 frames", _OWN,
    ),
    "sync_mini_offset": Definition(
        "mini SyncNet offset", "sync_mini", "frames", "zero",
        "the shift of that least distance; positive where lips come later", _OWN,
    ),
    "landmark_sync_peak": Definition(
        "lip-loudness correlation", "landmark_sync", "correlation", "higher",
        "largest correlation of lip gap (points 13, 14) and log energy over lags within 15 frames", _OWN,
    ),
    "landmark_sync_lag": Definition(
        "lip-loudness lag", "landmark_sync", "frames", "zero",
        "the lag of that peak; positive where lips come later", _OWN,
    ),
    "mouth_landmark_distance": Definition(
        "mouth landmark distance", "mouth", "eye distances", "lower",
        "mean distance of 40 lip points to the reference's, faces laid over each other by the eyes", _OWN,
    ),
    "lip_gap_correlation": Definition(
        "lip gap correlation", "mouth", "correlation", "higher",
        "Pearson's over time, of the lip gap with the reference's", _OWN,
    ),
    "lip_width_correlation": Definition(
        "lip width correlation", "mouth", "correlation", "higher",
        "Pearson's over time, of the mouth's width with the reference's", _OWN,
    ),
    "silent_lip_motion": Definition(
        "lip motion in silence", "silence", "eye distances", "lower",
        "standard deviation of the lip gap within stretches where the voice is silent", _OWN,
    ),
    "lip_dynamics": Definition(
        "lip dynamics", "theval", "eye distances/s", "none",
        "mean absolute speed of the lip gap; the real clip's is right, more is not better", _THEVAL,
    ),
    "lip_dynamics_score": Definition(
        "lip dynamics score", "theval", "score", "higher", f"{_LIKENESS} lip dynamics", _THEVAL,
    ),
    "silent_lip_deviation": Definition(
        "lip deviation in silence", "theval", "eye distances", "lower",
        "median absolute deviation of the lip gap within silences of 300 ms or more (voice-activity detector)", _THEVAL,
    ),
    "silent_lip_deviation_score": Definition(
        "lip stability score", "theval", "score", "higher", f"{_LIKENESS} lip deviation in silence", _THEVAL,
        version=2,
    ),
    "lip_loudness_distance": Definition(
        "lip-loudness distance", "theval", "share", "lower",
        "mean absolute difference of lip gap and log energy, their 5th and 95th percentiles set to 0 and 1", _THEVAL,
    ),
    "lip_loudness_distance_score": Definition(
        "lip-loudness score", "theval", "score", "higher", f"{_LIKENESS} lip-loudness distance", _THEVAL,
    ),
    "lip_gap_dtw": Definition(
        "aligned lip gap distance", "lip_dtw", "eye distances", "lower",
        "mean absolute difference to the reference's lip gap along the best alignment within 5 frames", _OWN,
    ),
    "sync_mini_accuracy": Definition(
        "mini SyncNet accuracy", "sync_mini_accuracy", "share", "higher",
        "embedded SyncNet, share of right answers: cosine above 0.5 with the own speech, at most 0.5 half a clip away",
        "eval_syncnet_acc of LatentSync",
    ),
    "stable_syncnet_accuracy": Definition(
        "StableSyncNet accuracy", "stable_syncnet_accuracy", "share", "higher",
        "StableSyncNet, share of right answers: cosine above 0.5 with the own speech, at most 0.5 half a clip away",
        "eval_syncnet_acc of LatentSync",
    ),
    "landmark_jitter_ratio": Definition(
        "landmark jitter ratio", "jitter", "ratio", "lower",
        "second difference of chin and jaw over time, rms, result over clip", _OWN,
    ),
    "window_boundary_ratio": Definition(
        "window boundary ratio", "window_boundary", "ratio", "one",
        "mean absolute difference to the frame before, where the network's windows meet, over elsewhere", _OWN,
    ),
    "whisper_boundary_ratio": Definition(
        "Whisper boundary ratio", "window_boundary", "ratio", "one",
        "the same where Whisper's segments of 30 s meet", _OWN,
    ),
    "seam_colour": Definition(
        "seam colour step", "seam", "levels", "lower",
        "colour step across the mask's edge against the clip's, mean over 16 sectors and frames", _OWN,
    ),
    "seam_gradient": Definition(
        "seam gradient", "seam", "levels/px", "lower",
        "gradient on the mask's edge against the clip's, mean over frames", _OWN,
    ),
    "mouth_sharpness_ratio": Definition(
        "mouth sharpness ratio", "sharpness", "ratio", "one",
        f"variance of the Laplacian over {_MOUTH} pixels, result over clip", _OWN,
    ),
    "identity_cosine": Definition(
        "identity cosine", "identity", "cosine", "higher",
        "dlib's face embeddings of result and clip, mean over every tenth frame", "dlib",
    ),
    "identity_distance": Definition(
        "identity distance", "identity", "distance", "lower",
        "Euclidean distance of the same; other persons are above 0.6", "dlib",
    ),
    "outside_residual": Definition(
        "residual outside the crop", "residual", "levels", "lower",
        "mean absolute difference to the clip outside of the crop, every fifth frame", _OWN,
    ),
}  # fmt: skip
DEFINITIONS_OF_SETS = {  # of two sets of videos; no record has them
    "fid": Definition(
        "FID", "sets", "distance", "lower", "clean-fid, Inception v3, frames of aligned crops", "clean-fid"
    ),
    "fvd": Definition(
        "FVD", "sets", "distance", "lower", "cd-fvd, VideoMAE, 16 frames of aligned crops a clip", "cd-fvd"
    ),
}
HEADLINES = (  # shown first in pages, in this order; all others follow
    "lse_c", "lse_d", "stable_syncnet_cosine", "sync_mini_confidence_minus_real", "sync_mini_confidence",
    "landmark_sync_peak", "lpips_alex_mouth", "lpips_vgg_mouth", "ssim_mouth", "mouth_sharpness_ratio",
    "landmark_jitter_ratio", "seconds",
)  # fmt: skip
FAMILY_TEXTS = {
    "lpips": "LPIPS with AlexNet, of aligned crops and mouths.",
    "lpips_vgg": "LPIPS with VGG16, of aligned crops and mouths.",
    "reconstruction": "PSNR and SSIM, of aligned crops and mouths.",
    "syncnet": "LSE-C, LSE-D and offset of SyncNet v2, if its weights are here.",
    "stable_syncnet": "cosine similarity by LatentSync's SyncNet, if its weights are here.",
    "sync_mini": "confidence, distance and offset of the embedded model's own SyncNet.",
    "landmark_sync": "correlation of the lip gap with the sound's energy.",
    "mouth": "landmarks of the lips, compared with the clip's.",
    "silence": "motion of the lips while the voice is silent.",
    "theval": "how much lips move, how still they rest and how they follow loudness, with scores against the clip.",
    "lip_dtw": "lip gap compared with the clip's, with a lag of up to 5 frames forgiven.",
    "sync_mini_accuracy": "how often the embedded model's own SyncNet tells right from wrong speech.",
    "stable_syncnet_accuracy": "how often LatentSync's SyncNet tells right from wrong speech, if its weights are here.",
    "jitter": "trembling of chin and jaw, compared with the clip.",
    "window_boundary": "frame difference where windows meet, compared with elsewhere.",
    "seam": "colour and gradient along the mask's edge.",
    "sharpness": "sharpness of the mouth, compared with the clip.",
    "residual": "changes outside of the crop.",
    "identity": "similarity of face embeddings of result and clip, if dlib and its weights are here.",
}
_AT_LEAST_0, _UP_TO_1 = (0.0, math.inf), (-1.0, 1.0)
_BOUNDS = {  # of the measures by their units
    "distance": _AT_LEAST_0, "eye distances": _AT_LEAST_0, "ratio": _AT_LEAST_0, "index": _UP_TO_1, "cosine": _UP_TO_1,
    "correlation": _UP_TO_1, "eye distances/s": _AT_LEAST_0, "share": (0.0, 1.0), "score": (-math.inf, 1.0),
}  # fmt: skip
INSTALLED = installed_families(DEFINITIONS, FAMILY_TEXTS, (PREFIXES, SUFFIXES))  # those of other packages, by name
DEFINITIONS |= definitions_of(INSTALLED)
FAMILY_TEXTS |= {name: family.text for name, family in INSTALLED.items()}
WORDS = {name: known.word for name, known in (DEFINITIONS | DEFINITIONS_OF_SETS).items()}
FAMILIES = tuple(dict.fromkeys(definition.family for definition in DEFINITIONS.values()))


def base_name(name: str) -> str:
    """The name in `DEFINITIONS` behind a measure's name, without prefix, suffix and face crop."""
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    return name.removesuffix(OTHER_CROP)


def definition_of(name: str) -> Definition:
    """The definition behind a name, with any prefix and suffix.

    Raises:
        KeyError: there is no such measure.
    """
    return DEFINITIONS[base_name(name)]


def word_of_metric(name: str) -> str:
    """The name of a measure for readers: `change_lpips_alex_mouth` -> "change of mouth LPIPS".

    Raises:
        KeyError: there is no such measure.
    """
    word = WORDS[base_name(name)] + " (MediaPipe crop)" * (OTHER_CROP in name)
    for prefix, words in PREFIX_WORDS.items():
        if name.startswith(prefix):
            word = words.format(word)
    suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)
    return word if suffix is None else SUFFIX_WORDS[suffix].format(word)


def direction_of(name: str) -> str:
    """Which direction of a measure is better. A change and a control have none; a difference is best at 0."""
    if name.startswith("change_") or (name.endswith(("_real", "_shuffled", "_delayed")) and "_minus_" not in name):
        return "none"
    return "zero" if name.endswith("_minus_real") else definition_of(name).direction


def bounds_of(name: str) -> tuple[float, float]:
    """The least and the greatest possible value of a measure; infinite where there is none, or for an unknown name."""
    if name.endswith("_minus_real"):
        low, high = bounds_of(name.removesuffix("_minus_real"))
        return low - high, high - low
    known = DEFINITIONS.get(base_name(name))
    return (-math.inf, math.inf) if known is None else _BOUNDS.get(known.unit, (-math.inf, math.inf))


def entry(
    name: str,
    value: float | None,
    reason: str | None = None,
    *,
    used: int | None = None,
    left_out: int | None = None,
    network: str | None = None,
    weights: str | None = None,
    detail: str = "",
) -> Entry:
    """A measure as a record holds it.

    Args:
        value: the number; None needs a reason.
        used, left_out: how many frames or windows counted, and how many did not.
        network, weights: the network's name, and the first digits of the SHA-256 of its weights.
        detail: facts that the definition leaves open, such as the length of a window.

    Raises:
        KeyError: there is no such measure.
        ValueError: there is neither a value nor a reason.
    """
    if value is None and not reason:
        raise ValueError(f"{name} has neither a value nor a reason; give one")
    definition = definition_of(name)
    fields = {"value": value, "unit": definition.unit, "direction": direction_of(name),
            "protocol": "; ".join(filter(None, (definition.text, detail))), "version": definition.version}  # fmt: skip
    more = {"network": network, "weights": weights, "used": used, "left_out": left_out}
    fields |= {key: item for key, item in more.items() if item is not None}
    return fields if value is not None else fields | {"reason": reason}


def table() -> str:
    """`DEFINITIONS` in Markdown, as docs/metrics.md has it, without those of other packages."""
    rows = [
        f"| {known.word} | `{name}` | `{known.family}` | {known.unit} | {known.direction} | {known.text} | "
        f"{known.source} |"
        for name, known in DEFINITIONS.items()
        if known.family not in INSTALLED
    ]
    heading = "| metric | column | family | unit | better | definition | source |"
    return "\n".join([heading, "| --- " * 7 + "|", *rows])
