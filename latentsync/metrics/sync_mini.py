"""How well lips match speech, measured by a small model's own StableSyncNet: a substitute for SyncNet v2.

Goal: the protocol of SyncNet's scores, with the SyncNet that belongs to a model. The numbers are meaningful for that
model and its data only. They never have the names of the standard network's scores (LSE-C, LSE-D).

Conventions: aligned crops at 25 frames a second, of any size (see `stable_syncnet.lower_halves`); speech as the mel of
`speech_features.wav2lip_mel`. Window i has frames i .. i + f - 1 (f of the network) and ceil(80 f / 25) mel columns
from int(80 i / 25) on, as in training. The distance of two embeddings is 1 minus their cosine. It lies in 0..1, since
all numbers of an embedding are at least 0. A shift s compares lips i with speech i + s, for all i where both exist. A
clip is not padded with silence, so every distance compares lips with real sound.

Measures: `sync_mini_confidence` (median over shifts of the mean distance, minus the smallest; 0..1, higher is better),
`sync_mini_distance` (the smallest; 0..1, lower is better), `sync_mini_offset` (frames; positive if the lips come later
than their sound, as in `syncnet` and `sync`; nearer to 0 is better).

Source: the protocol is that of Chung & Zisserman, "Out of time" (ACCV-W 2016); the network that of arXiv 2412.09262,
section 3.3, at another size.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from latentsync.constants import SAMPLES_PER_FRAME, VIDEO_RATE_HZ
from latentsync.errors import MediaError
from latentsync.faces.masks import crops_to_pixels
from latentsync.metrics.speech_features import MEL_HZ, mel_columns, mel_start, wav2lip_mel
from latentsync.metrics.stable_syncnet import Encoder, StableSyncNet, embedding, lower_halves, on_channels
from latentsync.shapes import Crop, Crops, Waveform

MAX_SHIFT = 15  # frames either way
LEAST_WINDOWS = 10  # at every shift, for a meaningful mean
BATCH_WINDOWS = 64  # embedded at once

# Called with everything besides the network that the embeddings depend on, and a function that computes them.
KeepEmbeddings = Callable[[Tensor, Callable[[], Tensor]], Tensor]


def not_kept(given: Tensor, compute: Callable[[], Tensor]) -> Tensor:
    """Computes embeddings each time."""
    return compute()


@dataclass(frozen=True)
class SyncMiniScores:
    """The scores of a clip; see the module."""

    sync_mini_confidence: float
    sync_mini_distance: float
    sync_mini_offset: int


def num_frames(network: StableSyncNet) -> int:
    """Frames of the network's window; its input has three channels for each."""
    return network.visual_encoder.conv_in.in_channels // 3


def validate(crops: Crops, waveform: Waveform) -> None:
    """Refuses arrays that are not faces and sound.

    Raises:
        ValueError: the crops are not uint8 (f, 3, r, r), or the waveform does not have one dimension.
    """
    if crops.ndim != 4 or crops.shape[1] != 3 or crops.dtype != torch.uint8:
        raise ValueError(f"crops have shape {tuple(crops.shape)} and type {crops.dtype}; uint8 (f, 3, r, r) is needed")
    if waveform.ndim != 1:
        raise ValueError(f"the waveform has shape {waveform.shape}; (n,) at 16 kHz is needed")


def embed(
    network: StableSyncNet, crops: Crops, waveform: Waveform
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "m d"]]:
    """Embeddings of every window of lips and of every window of speech, of length 1, on the CPU.

    Their numbers may differ. Window i of both begins with frame i.

    Args:
        network: in evaluation mode.
        crops: (f, 3, r, r) at 25 frames a second; they begin together with the sound.
        waveform: -1..1, mono at 16 kHz.

    Raises:
        ValueError: as `validate`.
        MediaError: there are fewer frames or less sound than a window.
    """
    validate(crops, waveform)
    return embed_lips(network, crops), embed_speech(network, waveform)


class LipEmbedder:
    """Embeds the windows of lips of a video that comes in parts; holds the frames of one window, and the embeddings.

    Args:
        network: in evaluation mode.
        keep: gives the embeddings of a part, stored or computed.
    """

    def __init__(self, network: StableSyncNet, keep: KeepEmbeddings = not_kept) -> None:
        self.network, self.window, self._keep = network, num_frames(network), keep
        self._before: Tensor | None = None
        self._embedded: list[Tensor] = []

    @torch.inference_mode()
    def add(self, crops: Crops) -> None:
        """The next frames."""
        encoder, frames = self.network.visual_encoder, self._before
        for part in crops.split(BATCH_WINDOWS):
            lower = lower_halves(self.network, crops_to_pixels(part)[None])[0]
            frames = lower if frames is None else torch.cat([frames, lower])
            if len(frames) >= self.window:

                def compute(frames: Tensor = frames) -> Tensor:
                    windows = frames.unfold(0, self.window, 1).movedim(-1, 1)
                    return _embedded(encoder, on_channels(windows).to(encoder.conv_in.weight.device))

                self._embedded.append(self._keep(frames, compute))
            self._before = frames = frames[max(0, len(frames) - self.window + 1) :]

    def result(self) -> Float[Tensor, "n d"]:
        """The embeddings of all windows so far.

        Raises:
            MediaError: there are fewer frames than a window has.
        """
        if not self._embedded:
            seen = 0 if self._before is None else len(self._before)
            raise MediaError(f"there are {seen} frames; a window has {self.window}")
        return torch.cat(self._embedded)


def embed_lips(network: StableSyncNet, crops: Iterable[Crop]) -> Float[Tensor, "n d"]:
    """The first half of `embed`: lips. Crops are read once, one by one; few are held at a time.

    Raises:
        MediaError: there are fewer frames than a window has.
    """
    embedder, crops = LipEmbedder(network), iter(crops)
    while part := list(islice(crops, BATCH_WINDOWS)):
        embedder.add(torch.stack(part))
    return embedder.result()


@torch.inference_mode()
def embed_speech(network: StableSyncNet, waveform: Waveform, keep: KeepEmbeddings = not_kept) -> Float[Tensor, "m d"]:
    """The second half of `embed`: speech.

    Args:
        keep: gives the embeddings, stored or computed.

    Raises:
        MediaError: there is less sound than a window has.
    """
    window, device = num_frames(network), network.audio_encoder.conv_in.weight.device
    heard = waveform.size // SAMPLES_PER_FRAME
    if heard < window:
        raise MediaError(f"there is sound for {heard} frames; a window has {window}")

    def compute() -> Tensor:
        parts = mel_windows(wav2lip_mel(waveform), window).split(BATCH_WINDOWS)
        return torch.cat([_embedded(network.audio_encoder, part[:, None].to(device)) for part in parts])

    return keep(torch.from_numpy(np.array(waveform)), compute)


def _embedded(encoder: Encoder, pictures: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
    return embedding(encoder, pictures, "a batch", "give square crops").cpu()


def mel_windows(mel: Float[np.ndarray, "80 t"], window: int) -> Float[Tensor, "m 80 k"]:
    """The mel columns of the windows that begin with frame 0, 1, 2 ...; only whole windows."""
    columns = mel_columns(window)
    starts = [mel_start(frame) for frame in range(math.ceil(mel.shape[1] * VIDEO_RATE_HZ / MEL_HZ) + 1)]
    return torch.from_numpy(np.stack([mel[:, s : s + columns] for s in starts if s + columns <= mel.shape[1]]))


def shift_distances(
    vision: Float[Tensor, "n d"],
    speech: Float[Tensor, "m d"],
    max_shift: int = MAX_SHIFT,
    seen: Bool[np.ndarray, " n"] | None = None,
) -> Float[Tensor, " s"]:
    """Mean distance between windows of lips and the speech up to `max_shift` frames before and after them.

    Entry k compares lips i with speech i + k - max_shift, for all i where both exist.

    Args:
        seen: which windows of lips count; None: all.

    Returns:
        (2 max_shift + 1,), 0..1.

    Raises:
        ValueError: the embeddings have other shapes, or max_shift is negative.
        MediaError: fewer than 10 windows can be compared at some shift.
    """
    if vision.ndim != 2 or speech.ndim != 2 or vision.shape[1] != speech.shape[1] or max_shift < 0:
        raise ValueError(
            f"lips {tuple(vision.shape)} and speech {tuple(speech.shape)} must be (n, d) and (m, d), and max_shift, "
            f"which is {max_shift}, at least 0"
        )
    lips, sound = np.arange(len(vision)) if seen is None else np.flatnonzero(seen), len(speech)
    distances = []
    for shift in range(-max_shift, max_shift + 1):
        there = lips[(lips + shift >= 0) & (lips + shift < sound)]
        if len(there) < LEAST_WINDOWS:
            raise MediaError(
                f"{len(lips)} windows of lips and {sound} of speech meet in {len(there)} at a shift of {shift} "
                f"frames; at least {LEAST_WINDOWS} are needed, so give {LEAST_WINDOWS + max_shift} windows or more"
            )
        distances.append(1 - (vision[there] * speech[there + shift]).sum(1).mean())
    return torch.stack(distances)


def scores(distances: Float[Tensor, " s"]) -> SyncMiniScores:
    """Confidence, distance and offset, from `shift_distances`.

    Raises:
        ValueError: the number of distances is not odd, or a distance is not finite.
    """
    if distances.ndim != 1 or len(distances) % 2 == 0 or not torch.isfinite(distances).all():
        raise ValueError(
            f"distances have shape {tuple(distances.shape)}; (2 max_shift + 1,) of finite numbers is needed"
        )
    best = int(distances.argmin())
    return SyncMiniScores(
        sync_mini_confidence=float(distances.median() - distances[best]),
        sync_mini_distance=float(distances[best]),
        sync_mini_offset=len(distances) // 2 - best,
    )


def whole_windows(has_face: Bool[np.ndarray, " f"], window: int) -> Bool[np.ndarray, " n"]:
    """Which windows have a face in every frame."""
    return np.lib.stride_tricks.sliding_window_view(has_face, window).all(axis=1)


def sync_mini(network: StableSyncNet, crops: Crops, waveform: Waveform, max_shift: int = MAX_SHIFT) -> SyncMiniScores:
    """The scores of a clip: `embed`, `shift_distances` and `scores` in one."""
    return scores(shift_distances(*embed(network, crops, waveform), max_shift))
