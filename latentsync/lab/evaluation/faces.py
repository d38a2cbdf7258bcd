"""The rows on real people: self-reconstruction of recordings that are in sync with their own sound.

The autoencoder is measured on all recordings with a face. Everything else needs a clip whose lips are right for its
sound. Recordings are few, so each clip's own value stands in the note, some with an interval within the clip.
"""

from collections.abc import Mapping

import numpy as np

from latentsync.errors import OptionError
from latentsync.lab.analysis.intervals import Interval, interval_text
from latentsync.lab.evaluation.measures import VAE_EVERY, Bench, vae_psnr
from latentsync.lab.evaluation.reconstruction import (
    COPIED,
    DECODED,
    GENERATED,
    LPIPS_EVERY,
    OUTCOMES,
    STILL,
    TRUE,
    VIEW_PX,
    Reconstruction,
)
from latentsync.lab.evaluation.recordings import Recordings
from latentsync.lab.evaluation.rows import (
    FROZEN,
    REFERENCE,
    Row,
    finite,
    not_measured,
    ratio_of,
    row_of,
    row_of_differences,
    row_of_means,
)
from latentsync.lab.evaluation.sheet import write_sheet
from latentsync.metrics.families.lips import IDENTITY_EVERY
from latentsync.metrics.perceptual import lpips_hash

PART = "faces"
BASELINES = {REFERENCE: COPIED, FROZEN: STILL}
LPIPS = "mouth_lpips"
VIEW = f"aligned crops of {VIEW_PX} px of the composited frames"
POINTS = "MediaPipe's 15 points of chin and jaw in the composited frames"
MEASURES = {  # what and protocol of a row, by the name of the measure
    "mouth_psnr": ("own voice, PSNR in dB", f"PSNR in the mask's hole in {VIEW}, per clip"),
    LPIPS: (
        "own voice, LPIPS of the mouth",
        f"LPIPS v0.1, AlexNet, weights {lpips_hash()}, the box around the mask's hole in {VIEW}, one frame in "
        f"{LPIPS_EVERY}",
    ),
    "lip": (
        "lips follow the person's own, correlation",
        "Pearson over time of MediaPipe's lip gap in the composited frames with that in the clip's frames, per clip",
    ),
    "jaw": (
        "jaw line's distance in eye distances",
        f"mean distance of {POINTS} from those in the clip's frames, moved, turned and scaled by the eyes",
    ),
    "identity": (
        "same person, cosine",
        f"cosine of dlib's face embeddings of composited and clip's frames, one frame in {IDENTITY_EVERY}",
    ),
    "seam_colour": ("seam in levels", f"step of colour across the mask's edge less the clip's, in {VIEW}"),
    "seam_gradient": ("seam in levels/px", f"gradient along the mask's edge less the clip's, in {VIEW}"),
    "jitter": (
        "jaw trembles, relative to the clip",
        f"root mean square of the second difference over time of {POINTS}, over that of the clip",
    ),
}
SYNC = (
    "sync_mini_confidence, relative to true clips",
    "sync_mini_confidence by the SyncNet of the model mini, whichever model is measured, means over clips; interval: "
    "bootstrap over clips",
)

Dubs = Mapping[str, Reconstruction]


def faces(bench: Bench) -> list[Row]:
    """Rows `faces_*`: what the model does with real people.

    Raises:
        OptionError: the bench has no recordings, or --in-sync names an unknown one.
        MediaError: the folder is missing or has no video.
    """
    recordings = bench.recordings
    if recordings is None:
        raise OptionError(f"the row {PART} needs recordings of real people; give their folder with --real")
    dubs = {}
    for clip in recordings.clips:
        if clip.is_in_sync and (dub := bench.real_dub(clip)) is not None:
            dubs[clip.name] = dub
            write_sheet(bench.sheets / f"{clip.name}.png", dub.views, bench.pipe.settings.trained)
    reason = _nothing(bench, recordings)
    rows = [_vae(bench, recordings, reason)]
    for measure, (what, _) in MEASURES.items():
        if dubs:
            rows += _rows(bench, measure, dubs, recordings.networks.missing.get(measure))
        else:
            rows.append(not_measured(f"faces_{measure}", PART, reason, what))
    if not all("sync" in dub.values for dub in dubs.values()):
        reason, dubs = recordings.networks.missing["sync_mini"], {}
    rows.append(_sync(bench, dubs) if dubs else not_measured("faces_sync", PART, reason, SYNC[0]))
    return rows


def _nothing(bench: Bench, recordings: Recordings) -> str:
    """Why no clip can be reconstructed."""
    if unusable := recordings.left_out | bench.failures:
        return "; ".join(f"{name}: {reason}" for name, reason in unusable.items())
    return (
        f"no clip of {recordings.folder} speaks in sync with its own sound, as far as the SyncNet can tell; name those "
        "that do with --in-sync"
    )


def _vae(bench: Bench, recordings: Recordings, reason: str) -> Row:
    name, what = "faces_vae", "round trip, PSNR in dB"
    if not recordings.clips:
        return not_measured(name, PART, reason, what)
    size_px = bench.pipe.settings.size_px
    each = {clip.name: vae_psnr(bench.pipe.vae, clip.crops(size_px, VAE_EVERY)) for clip in recordings.clips}
    protocol = (
        f"every {VAE_EVERY}th crop with a face through the posterior's mean, PSNR per clip over 0..255, mean over all "
        "clips, in sync or not"
    )
    return row_of_means(name, PART, what, protocol, each, bench.bars.get(name), note=_by_clip(each, ".1f"))


def _rows(bench: Bench, measure: str, dubs: Dubs, missing: str | None) -> list[Row]:
    name, (what, protocol) = f"faces_{measure}", MEASURES[measure]
    values = {kind: finite({clip: dub.values[measure][kind] for clip, dub in dubs.items()}) for kind in OUTCOMES}
    each = values[GENERATED]
    if not each:
        return [not_measured(name, PART, missing or "too few frames show a face", what)]
    protocol = f"{protocol}; mean over clips; reference=elsewhere"
    means = {kind: float(np.mean(list(of_kind.values()))) for kind, of_kind in values.items() if of_kind}
    baselines = {label: means[kind] for label, kind in BASELINES.items() if kind in means}
    note = _by_clip(each, ".3f", {clip: dub.within.get(measure) for clip, dub in dubs.items()})
    note += f"; the autoencoder alone {means[DECODED]:.3f}" if DECODED in means else ""
    rows = [row_of_means(name, PART, what, protocol, each, bench.bars.get(name), baselines=baselines, note=note)]
    for label, kind in BASELINES.items() if measure == LPIPS else ():
        less = f"{name}_{label.split()[0]}"
        difference = {clip: each[clip] - values[kind][clip] for clip in each}
        note = _by_clip(difference, "+.4f", {clip: dub.within[f"{LPIPS}_{kind}"] for clip, dub in dubs.items()})
        words, pair = f"the same, less that of the {label}", (each, values[kind])
        rows.append(row_of_differences(less, PART, words, protocol, *pair, bench.bars.get(less), note=note))
    return rows


def _sync(bench: Bench, dubs: Dubs) -> Row:
    name, (what, protocol) = "faces_sync", SYNC
    values = {kind: [dub.values["sync"][kind] for dub in dubs.values()] for kind in (TRUE, *OUTCOMES)}
    ratio, interval = ratio_of(values[GENERATED], values[TRUE])
    each = {clip: [dub.values["sync"][GENERATED], dub.values["sync"][TRUE]] for clip, dub in dubs.items()}
    true = np.mean(values[TRUE])
    baselines = finite({label: float(np.mean(values[kind]) / true) for label, kind in BASELINES.items()})
    note = "; ".join(f"{clip} {generated:.3f} of {of:.3f}" for clip, (generated, of) in each.items())
    bar = bench.bars.get(name)
    return row_of(name, PART, what, protocol, ratio, interval, len(dubs), bar, each, baselines=baselines, note=note)


def _by_clip(each: Mapping[str, float], form: str, within: Mapping[str, Interval | None] | None = None) -> str:
    """Each clip's value, with its interval within the clip if there is one."""
    texts = []
    for clip, value in each.items():
        interval = (within or {}).get(clip)
        texts.append(f"{clip} {value:{form}}" + ("" if interval is None else f" ({interval_text(interval, form)})"))
    return "; ".join(texts)
