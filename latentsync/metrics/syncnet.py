"""SyncNet v2 and its scores LSE-C, LSE-D and offset: how well lips match speech, as papers report it.

Goal: embeddings of 0.2 s of lips and of speech, which are close if the two belong together; the distances between every
window of lips and the speech up to 15 frames before and after it; and three numbers computed from these distances.

Conventions: video at 25 frames a second, 224x224 px, BGR 0..255 without normalisation; speech as MFCC columns of
`speech_features`, 100 a second, of int16 samples at 16 kHz. Window i is frames i..i+4 and columns 4i..4i+19. As in the
original, the last whole window of a clip is not used.

Measures: `lse_c` (confidence: how far the smallest mean distance lies below the median over shifts; higher is better),
`lse_d` (the smallest mean distance; lower is better), `offset` (frames; positive if the lips come later than their
sound, as in `sync`; nearer to 0 is better). They are comparable only for the same network and protocol.

Source: Chung & Zisserman, "Out of time: automated lip sync in the wild" (ACCV-W 2016) and its published network; the
scores under their names in Prajwal et al., "A Lip Sync Expert Is All You Need" (ACM MM 2020). `StableSyncNet`, the
critic of LatentSync, is another network with other numbers; see `stable_syncnet`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import pad, pairwise_distance

from latentsync.constants import SAMPLES_PER_FRAME
from latentsync.errors import MediaError
from latentsync.metrics.speech_features import MFCC_COEFFICIENTS, mfcc
from latentsync.metrics.stable_syncnet import LATENT, PIXEL, PIXEL_ATTN, StableSyncNet, load_stable_syncnet
from latentsync.shapes import Frame, Samples
from latentsync.weights.tensors import Place, load_built

__all__ = [
    "LATENT",
    "PIXEL",
    "PIXEL_ATTN",
    "StableSyncNet",
    "SyncNet",
    "SyncScores",
    "clip_embeddings",
    "load_stable_syncnet",
    "load_syncnet",
    "scores",
    "window_distances",
]

FACE_PX = 224
WINDOW_FRAMES = 5  # 0.2 s
WINDOW_COLUMNS = 20  # 0.2 s
COLUMNS_PER_FRAME = 4
LEAST_FRAMES = WINDOW_FRAMES + 1  # enough for one window, since the original leaves the last one out
BATCH_WINDOWS = 20  # embedded at once
MAX_SHIFT = 15  # frames either way


# The network


def _conv(
    kind: type[nn.Module], norm: type[nn.Module], channels: tuple[int, int], kernel, **options
) -> list[nn.Module]:
    """A convolution with its batch norm and ReLU."""
    return [kind(*channels, kernel, **options), norm(channels[1]), nn.ReLU()]


def _audio_encoder() -> nn.Sequential:
    """(b, 1, 13, 20) -> (b, 512, 1, 1)."""

    def conv(channels: tuple[int, int], kernel, padding: int) -> list[nn.Module]:
        return _conv(nn.Conv2d, nn.BatchNorm2d, channels, kernel, padding=padding)

    return nn.Sequential(
        *conv((1, 64), 3, padding=1),
        nn.Identity(),  # the original's pooling of 1x1 pixels
        *conv((64, 192), 3, padding=1),
        nn.MaxPool2d(3, stride=(1, 2)),
        *conv((192, 384), 3, padding=1),
        *conv((384, 256), 3, padding=1),
        *conv((256, 256), 3, padding=1),
        nn.MaxPool2d(3, stride=2),
        *conv((256, 512), (5, 4), padding=0),
    )


def _lip_encoder() -> nn.Sequential:
    """(b, 3, 5, 224, 224) -> (b, 512, 1, 1, 1); only the first convolution joins frames."""

    def conv(channels: tuple[int, int], size: int, stride: int, padding: int, frames: int = 1) -> list[nn.Module]:
        options = {"stride": (1, stride, stride), "padding": (0, padding, padding)}
        return _conv(nn.Conv3d, nn.BatchNorm3d, channels, (frames, size, size), **options)

    def pool(padding: int = 0) -> nn.Module:
        return nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, padding, padding))

    return nn.Sequential(
        *conv((3, 96), 7, stride=2, padding=0, frames=WINDOW_FRAMES),
        pool(),
        *conv((96, 256), 5, stride=2, padding=1),
        pool(padding=1),
        *conv((256, 256), 3, stride=1, padding=1),
        *conv((256, 256), 3, stride=1, padding=1),
        *conv((256, 256), 3, stride=1, padding=1),
        pool(),
        *conv((256, 512), 6, stride=1, padding=0),
    )


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 1024))


class SyncNet(nn.Module):
    """SyncNet v2: lips and speech of 0.2 s into one space of 1024 numbers; parameter names as published."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = _audio_encoder()
        self.netfcaud = _head()
        self.netfclip = _head()
        self.netcnnlip = _lip_encoder()

    def embed_audio(self, columns: Float[Tensor, "b 1 13 20"]) -> Float[Tensor, "b 1024"]:
        """Embeddings of 20 MFCC columns each.

        Raises:
            ValueError: another shape.
        """
        _check_shape("columns", columns, (1, MFCC_COEFFICIENTS, WINDOW_COLUMNS))
        return self.netfcaud(self.netcnnaud(columns).flatten(1))

    def embed_lips(self, faces: Float[Tensor, "b 3 5 224 224"]) -> Float[Tensor, "b 1024"]:
        """Embeddings of 5 faces each, BGR 0..255.

        Raises:
            ValueError: another shape.
        """
        _check_shape("faces", faces, (3, WINDOW_FRAMES, FACE_PX, FACE_PX))
        return self.netfclip(self.netcnnlip(faces).flatten(1))


def _check_shape(name: str, tensor: Tensor, needed: tuple[int, ...]) -> None:
    if tuple(tensor.shape[1:]) != needed:
        raise ValueError(f"{name} have shape {tuple(tensor.shape)}; (b, {', '.join(map(str, needed))}) is needed")


def load_syncnet(path: str | Path, device: str = "cpu") -> SyncNet:
    """SyncNet v2 with the published weights (`syncnet_v2.model` or a copy of its tensors), ready for use.

    Raises:
        WeightsError: the file is absent or damaged, or holds another network.
    """
    return load_built(SyncNet, path, Place(device))


# A clip


@torch.inference_mode()
def clip_embeddings(
    network: SyncNet, frames: UInt8[np.ndarray, "f 224 224 3"] | Iterable[Frame], samples: Samples
) -> tuple[Float[Tensor, "n 1024"], Float[Tensor, "n 1024"]]:
    """Embeddings of every window of a clip, lips and speech; holds 25 frames at a time.

    Args:
        network: in evaluation mode, on any device.
        frames: faces at 25 a second, RGB 0..255, 224x224 px; read once, up to the end of the sound.
        samples: int16, mono at 16 kHz; they begin with the first frame.

    Returns:
        Lip and audio embeddings on the CPU; n = min(f, len(samples) // 640) - 5.

    Raises:
        MediaError: there are fewer than 6 frames (0.24 s), or there is less sound.
        ValueError: frames have another shape or type, samples are not int16, or the network is in training mode.
    """
    if network.training:
        raise ValueError("the network is in training mode, where its norms depend on the batch; call its eval() first")
    sound_frames = samples.size // SAMPLES_PER_FRAME
    if sound_frames < LEAST_FRAMES:
        raise MediaError(
            f"the sound has {samples.size} samples, which is {sound_frames} video frames; SyncNet needs at least "
            f"{LEAST_FRAMES} ({LEAST_FRAMES * SAMPLES_PER_FRAME} samples, 0.24 s)"
        )
    device = next(network.parameters()).device
    strips = strips_of(islice(frames, sound_frames))
    lips = torch.cat([network.embed_lips(_lip_windows(strip.to(device))).cpu() for strip in strips])
    columns = torch.from_numpy(mfcc(samples)).float()
    windows = columns.unfold(1, WINDOW_COLUMNS, COLUMNS_PER_FRAME).permute(1, 0, 2)[: len(lips), None]
    return lips, torch.cat([network.embed_audio(batch.to(device)).cpu() for batch in windows.split(BATCH_WINDOWS)])


def strips_of(frames: Iterable[Frame]) -> Iterator[UInt8[Tensor, "m 3 224 224"]]:
    """The frames of up to 20 windows at a time, BGR, and one more: a window that ends the clip is not used.

    The next strip begins with the last five frames again, so that no window is lost between two strips.
    """
    held: list[Tensor] = []
    num_frames = 0
    for frame in frames:
        num_frames += 1
        held.append(_bgr(frame))
        if len(held) == BATCH_WINDOWS + WINDOW_FRAMES:
            yield torch.stack(held)
            held = held[BATCH_WINDOWS:]
    if num_frames < LEAST_FRAMES:
        raise MediaError(f"the clip has {num_frames} frames; SyncNet needs at least {LEAST_FRAMES} (0.24 s) with sound")
    if len(held) > WINDOW_FRAMES:
        yield torch.stack(held)


def _bgr(frame: Frame) -> UInt8[Tensor, "3 224 224"]:
    if frame.shape != (FACE_PX, FACE_PX, 3) or frame.dtype != np.uint8:
        raise ValueError(
            f"a frame has shape {frame.shape} and type {frame.dtype}; ({FACE_PX}, {FACE_PX}, 3) of uint8 is needed"
        )
    return torch.from_numpy(np.ascontiguousarray(frame[..., ::-1].transpose(2, 0, 1)))


def _lip_windows(strip: UInt8[Tensor, "m 3 224 224"]) -> Float[Tensor, "n 3 5 224 224"]:
    """The windows of five frames, from each frame on; the last frame of the strip is left out, so n = m - 5."""
    return strip[:-1].float().unfold(0, WINDOW_FRAMES, 1).permute(0, 1, 4, 2, 3)


# The scores


@dataclass(frozen=True)
class SyncScores:
    """The scores of a clip.

    Attributes:
        lse_c: confidence, from 0 on; higher is better.
        lse_d: distance, from 0 on; lower is better.
        offset: how many frames later than their sound the lips come; negative if they come earlier.
    """

    lse_c: float
    lse_d: float
    offset: int


def window_distances(
    lip_embeddings: Float[Tensor, "n d"], audio_embeddings: Float[Tensor, "n d"], max_shift: int = MAX_SHIFT
) -> Float[Tensor, "s n"]:
    """Euclidean distance of each window of lips to the speech before and after it.

    Row k compares lips i with speech i + k - max_shift. As in the original, the speech is zeros beyond the ends of the
    clip, so the first and last windows count at all shifts. Identical embeddings are sqrt(d) * 1e-6 apart, since the
    original adds 1e-6 to every difference.

    Returns:
        (2 max_shift + 1, n).

    Raises:
        ValueError: the embeddings differ in shape, have another shape or are empty, or max_shift is negative.
    """
    shape = lip_embeddings.shape
    if shape != audio_embeddings.shape or len(shape) != 2 or not shape.numel():
        raise ValueError(
            f"lip embeddings {tuple(shape)} and audio embeddings {tuple(audio_embeddings.shape)} must both be (n, d) "
            f"with the same n of at least 1"
        )
    if max_shift < 0:
        raise ValueError(f"max_shift is {max_shift}; it must be at least 0 frames (15 is the protocol's)")
    speech = pad(audio_embeddings, (0, 0, max_shift, max_shift))
    shifted = (speech[k : k + len(lip_embeddings)] for k in range(2 * max_shift + 1))
    return torch.stack([pairwise_distance(lip_embeddings, there, eps=1e-6) for there in shifted])


def scores(distances: Float[Tensor, "s n"] | Float[Tensor, " s"]) -> SyncScores:
    """LSE-C, LSE-D and the offset, from `window_distances` or their mean over windows.

    LSE-D is the smallest mean distance. LSE-C is the median over shifts minus LSE-D. The offset is max_shift minus the
    row of LSE-D: the speech that fits best is `offset` frames before the lips.

    Raises:
        ValueError: the distances are not (s, n) or (s,) with an odd number of shifts, there are no windows, or a
            distance is not finite.
    """
    if distances.ndim not in (1, 2) or distances.shape[0] % 2 == 0 or not distances.numel():
        raise ValueError(
            f"distances have shape {tuple(distances.shape)}; (shifts, windows) or (shifts,) is needed, with "
            f"2 * max_shift + 1 shifts and at least 1 window"
        )
    if not torch.isfinite(distances).all():
        raise ValueError("a distance is not finite; the embeddings hold NaN or infinite numbers")
    mean = distances if distances.ndim == 1 else distances.mean(dim=1)
    best = int(mean.argmin())
    return SyncScores(
        lse_c=float(mean.median() - mean[best]), lse_d=float(mean[best]), offset=distances.shape[0] // 2 - best
    )
