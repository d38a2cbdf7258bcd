"""Aligned clips -> windows of frames, references and sound to train on. Knows nothing of Hydra or networks.

A sample depends only on the seed, the epoch and its index. It does not depend on the number of workers, on the order of
access, or on whether frames come from memory or from the file.
"""

import bisect
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from latentsync.audio.whisper import WhisperStates
from latentsync.errors import MediaError, OptionError
from latentsync.generation.memory import free_bytes
from latentsync.generation.references import GAP_FRAMES
from latentsync.media.sound import read_wav, to_float
from latentsync.metrics.speech_features import mel_columns, mel_start, wav2lip_mel
from latentsync.shapes import Crops
from latentsync.training.clips import AlignedClip
from latentsync.training.features import Augmentation, LatentFiles, cache_states, read_windows
from latentsync.verbosity import bars_off

USUAL_BUDGET_BYTES = 4 << 30  # where the system does not say how much memory is free
WANTED = ("frames", "reference", "mel", "reference_mel")


def memory_budget() -> int:
    """How many bytes of crops a process may keep in memory."""
    free = free_bytes(torch.device("cpu"))
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # torchrun and `accelerate launch` set it
    return USUAL_BUDGET_BYTES if free is None else free // 2 // processes


def reference_starts(start: int, num_frames: int, length: int, gap: int) -> list[int]:
    """Where a reference window may begin, so that each of its frames is at least `gap` frames from the window.

    If the clip is too short for that, the only place is the one farthest from the window (the earlier of two).

    Args:
        start: of the window.
        num_frames: of the window and of the reference.
        length: of the clip, frames; at least num_frames.
    """
    last = length - num_frames
    reach = num_frames - 1 + gap
    far = [*range(0, min(start - reach, last) + 1), *range(start + reach, last + 1)]
    return far or [0 if start >= last - start else last]


class WindowSet(Dataset):
    """Training samples of aligned clips, drawn by seed, epoch and index: `windows.sample(epoch, index)`.

    In an epoch a clip has as many samples as windows fit into it side by side, each at a random place. So clips count
    in proportion to their length. `windows[index, epoch]` is the same sample, and `windows[index]` that of epoch 0.

    A sample is a dict:
        frames: uint8 (f, 3, r, r), consecutive.
        reference: uint8 (f, 3, r, r), consecutive frames from another part of the clip; see `reference_starts`.
        audio: float32 (f, t, d), Whisper's states around each frame, as at inference; absent without `whisper`.
        latents, masked_latents, reference_latents: float32 (f, 2 c, h, w), the VAE's posterior (mean, deviation) of
            frames, masked frames and reference; absent without `latents`.
        mel: float32 (80, ceil(80 f / 25)), -4..4, the columns from int(80 * start / 25) on, for SyncNet.
        reference_mel: the same of the reference.
        clip: its number in `clips`. start, reference_start: first frames. flipped: whether it is mirrored.

    Args:
        clips: all of one size; clips shorter than a window are left out (`left_out` names them).
        num_frames: of a window; the published models have 16 and 8.
        whisper: the encoder. Missing states of the clips are computed now; the encoder itself is not stored.
        reference_gap_frames: least distance of a reference frame from every frame of the window; 25 is 1 s. With 0 and
            less they may overlap: with 2 - num_frames the reference begins at least one frame away.
        seed: of all random numbers.
        flip: mirrors half of the samples left to right, both frames and reference; see `flipped`.
        colour_jitter: j changes contrast and brightness by factors of 1 - j .. 1 + j, and each channel by half of that,
            the same for all frames and the reference of a sample; 0 is off, 0.1 is slight.
        wanted: which of WANTED a sample has; other parts are not computed.
        memory_budget_bytes: crops stay in memory if all of them fit into it; else they are decoded for each sample.
            None: half of the free memory, divided by the number of processes that train on this machine.
        latents: files of the VAE's latents; missing ones are made now. Their own augmentation applies, not `flip` and
            `colour_jitter`.

    Raises:
        OptionError: a value is out of range, or the clips differ in size.
        MediaError: no clip is long enough, or one cannot be decoded.
    """

    def __init__(
        self,
        clips: Sequence[AlignedClip],
        num_frames: int = 16,
        whisper: WhisperStates | None = None,
        reference_gap_frames: int = GAP_FRAMES,
        seed: int = 0,
        flip: bool = False,
        colour_jitter: float = 0.0,
        wanted: Sequence[str] = WANTED,
        memory_budget_bytes: int | None = None,
        latents: LatentFiles | None = None,
    ) -> None:
        _check_options(num_frames, reference_gap_frames, seed, colour_jitter, wanted)
        self.num_frames, self.reference_gap_frames, self.seed = num_frames, reference_gap_frames, seed
        self.flip, self.colour_jitter, self.wanted, self.latents = flip, colour_jitter, tuple(wanted), latents
        short = [clip for clip in clips if clip.num_frames < num_frames]
        self.left_out = {clip.name: f"it has {clip.num_frames} frames; a window has {num_frames}" for clip in short}
        self.clips = [clip for clip in clips if clip.num_frames >= num_frames]
        if not self.clips:
            raise MediaError(
                f"none of {len(clips)} clips has {num_frames} frames; prepare longer ones, or take fewer frames"
            )
        self.size_px = _common_size(self.clips)
        self._whisper_hash = None if whisper is None else cache_states(self.clips, whisper)
        self._ends = np.cumsum([clip.num_frames // num_frames for clip in self.clips]).tolist()
        if latents is not None:
            latents.make(self.clips)
        is_seen = {"frames", "reference"} & set(wanted)
        budget = memory_budget() if memory_budget_bytes is None else memory_budget_bytes
        self._crops = self._loaded() if is_seen and self.num_bytes <= budget else None

    def __len__(self) -> int:
        return self._ends[-1]

    @property
    def num_bytes(self) -> int:
        """The memory that all crops take."""
        return sum(clip.num_frames for clip in self.clips) * 3 * self.size_px**2

    @property
    def is_in_memory(self) -> bool:
        return self._crops is not None

    def __getitem__(self, place: int | tuple[int, int]) -> dict[str, Any]:
        index, epoch = place if isinstance(place, tuple) else (place, 0)
        return self.sample(epoch, index)

    def sample(self, epoch: int, index: int) -> dict[str, Any]:
        """Sample `index` of an epoch.

        Raises:
            IndexError: there is no such sample.
        """
        if epoch < 0 or not 0 <= index < len(self):
            raise IndexError(
                f"there is no sample {index} of epoch {epoch}; samples are 0 to {len(self) - 1}, epochs begin with 0"
            )
        draw = np.random.default_rng([self.seed, epoch, index])
        number = bisect.bisect_right(self._ends, index)
        clip, f = self.clips[number], self.num_frames
        # The draws always have this order, so that an augmentation does not change the choice of windows.
        start = int(draw.integers(clip.num_frames - f + 1))
        reference_start = int(draw.choice(reference_starts(start, f, clip.num_frames, self.reference_gap_frames)))
        augment = Augmentation.drawn(draw, self.flip, self.colour_jitter)
        sample = {"clip": number, "start": start, "reference_start": reference_start}
        if self.latents is not None:
            copy = int(draw.integers(self.latents.copies))
            augment = self.latents.augmentation(clip, copy)
            places = {"latents": ("faces", start), "masked_latents": ("masked", start),
                      "reference_latents": ("faces", reference_start)}  # fmt: skip
            sample |= {key: self.latents.read(clip, copy, part, at, at + f) for key, (part, at) in places.items()}
        sample["flipped"] = augment.flipped
        if "frames" in self.wanted:
            sample["frames"] = augment(self._frames(number, start))
        if "reference" in self.wanted:
            sample["reference"] = augment(self._frames(number, reference_start))
        if "mel" in self.wanted:
            sample["mel"] = self._mel_window(clip, start)
        if "reference_mel" in self.wanted:
            sample["reference_mel"] = self._mel_window(clip, reference_start)
        if self._whisper_hash is not None:
            sample["audio"] = read_windows(clip, self._whisper_hash, start, start + f)
        return sample

    def _frames(self, number: int, start: int) -> Crops:
        stop = start + self.num_frames
        return self.clips[number].frames(start, stop) if self._crops is None else self._crops[number][start:stop]

    def _loaded(self) -> list[Crops]:
        """All crops, as views of one block of memory that worker processes share."""
        total = sum(clip.num_frames for clip in self.clips)
        block = torch.empty(total, 3, self.size_px, self.size_px, dtype=torch.uint8)
        crops, place = [], 0
        for clip in tqdm(self.clips, unit="clip", desc="crops", disable=bars_off()):
            crops.append(block[place : place + clip.num_frames])
            crops[-1].copy_(clip.frames())
            place += clip.num_frames
        return crops

    def _mel_window(self, clip: AlignedClip, start: int) -> Float[Tensor, "80 m"]:
        first = mel_start(start)
        return torch.from_numpy(_mel(clip)[:, first : first + mel_columns(self.num_frames)].copy())


def _mel(clip: AlignedClip) -> Float[np.ndarray, "80 t"]:
    """The clip's whole mel, so that windows include the sound around their edges; the last clips' mels are cached."""
    return _mel_of(clip.sound, clip.facts["files"]["sound_sha256"])


@lru_cache(maxsize=512)  # 26 kB per second of sound
def _mel_of(sound: Path, sha256: str) -> Float[np.ndarray, "80 t"]:
    return wav2lip_mel(to_float(read_wav(sound)[0]))


def _check_options(
    num_frames: int, reference_gap_frames: int, seed: int, colour_jitter: float, wanted: Sequence[str]
) -> None:
    nearest = 2 - num_frames  # a reference that begins one frame later
    values = {"num_frames": (num_frames, 1), "reference_gap_frames": (reference_gap_frames, nearest), "seed": (seed, 0)}
    for name, (value, least) in values.items():
        if value < least:
            raise OptionError(f"{name} is {value}; it must be at least {least}")
    if not 0 <= colour_jitter <= 0.5:
        raise OptionError(f"colour_jitter is {colour_jitter}; it must be from 0 (off) to 0.5 (0.1 is slight)")
    if unknown := set(wanted) - set(WANTED):
        raise OptionError(f"wanted has {', '.join(sorted(unknown))}; a sample may have {', '.join(WANTED)}")


def _common_size(clips: Sequence[AlignedClip]) -> int:
    sizes = sorted({clip.size_px for clip in clips})
    if len(sizes) > 1:
        raise OptionError(f"the clips have crops of {', '.join(map(str, sizes))} px; prepare all with one --size")
    return sizes[0]
