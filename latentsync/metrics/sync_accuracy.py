"""How often a SyncNet is right: it calls a window of lips with its own speech in sync, and with other speech not.

Goal: the number by which a SyncNet is judged, and by which training decides when to stop. Real clips with their own
sound show how far a SyncNet can be trusted on a kind of video before it judges results.

Conventions: embeddings of length 1, one window for each frame. A cosine above 0.5 counts as in sync, as in the
original's `eval_syncnet_acc`. There, another window of the same clip is drawn at random. Here it is the one half a clip
away, so that the number is the same each time, and every window counts once with its own and once with other speech.
"""

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from latentsync.errors import MediaError

IN_SYNC = 0.5
LEAST_WINDOWS = 32  # so that the other speech is at least 16 frames away


def accuracy(lips: Float[Tensor, "n d"], speech: Float[Tensor, "m d"], seen: Bool[np.ndarray, " n"]) -> float:
    """The share of right answers, 0..1; 0.5 is chance.

    Args:
        seen: which windows of lips show a face in every frame; the others do not count.

    Raises:
        MediaError: there are fewer than 32 windows, or none shows a face.
    """
    count = min(len(lips), len(speech))
    if count < LEAST_WINDOWS:
        raise MediaError(f"there are {count} windows of lips and speech; at least {LEAST_WINDOWS} are needed")
    if not seen[:count].any():
        raise MediaError("no window shows a face in every frame")
    lips, speech = lips[:count], speech[:count]
    own, other = ((lips * each).sum(dim=1)[seen[:count]] for each in (speech, speech.roll(-(count // 2), dims=0)))
    return float(((own > IN_SYNC).float().mean() + (other <= IN_SYNC).float().mean()) / 2)
