"""The bars of the rows: what is asked of a small model, and what of one with larger crops.

A model of 128 px crops has five latents for a mouth, so less is asked of it. A row without an entry has no bar.
"""

from latentsync.lab.evaluation.rows import Bar

SMALL_PX = 128  # side of the crops of a small model, at most

BELOW_BASELINE = Bar(0, at_least=False, scope="interval")  # of a difference: generated less baseline
_SHARED = {
    "sync_true": Bar(0.95),
    "sync_injected": Bar(0.95),
    "lip_wrong": Bar(0.25, at_least=False),
    "self_lpips": Bar(0.05, at_least=False),
    "self_mouth_lpips_copied": BELOW_BASELINE,
    "self_mouth_lpips_frozen": BELOW_BASELINE,
    "sync_confidence_wrong": Bar(0.3, at_least=False),
    "speed": Bar(5),
    "faces_vae": Bar(33),
    "faces_lip": Bar(0.5, scope="each"),
    "faces_mouth_lpips_copied": Bar(0, at_least=False, scope="each"),
}
_SMALL = {
    "vae": Bar(33),
    "lip": Bar(0.75),
    "lip_of_ceiling": Bar(0.9),
    "real": Bar(0.65),
    "self_psnr": Bar(27),
    "silence": Bar(0.15, at_least=False),
    "sync_confidence": Bar(0.8),
}
_LARGE = {
    "vae": Bar(36),
    "lip": Bar(0.86),
    "lip_of_ceiling": Bar(0.92),
    "real": Bar(0.82),
    "self_psnr": Bar(29),
    "silence": Bar(0.12, at_least=False),
    "jaw": Bar(0.012, at_least=False),  # a third of mini's 0.035
    "sync_confidence": Bar(0.9, most=1.05),
}


def bars_for(size_px: int) -> dict[str, Bar]:
    """The bars of a model with crops of this side, by row."""
    return _SHARED | (_SMALL if size_px <= SMALL_PX else _LARGE)
