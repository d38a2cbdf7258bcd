"""Outputs of frozen networks for aligned clips, computed once and stored beside them: Whisper's states, VAE latents.

NAME.whisper-HASH.safetensors: the states of the clip's sound. NAME.latents-HASH.safetensors: the posterior of its faces
and of its masked faces, in one or more augmented copies. HASH covers everything that determines the numbers, so files
of another network or augmentation can lie in the same folder and are not read.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import AutoencoderKL
from einops import rearrange
from jaxtyping import Float, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from latentsync.audio.features import Audio2Feature, num_states, window_indices
from latentsync.audio.whisper import WhisperStates
from latentsync.constants import SAMPLES_PER_FRAME, VIDEO_RATE_HZ
from latentsync.device import has_native
from latentsync.errors import MediaError, OptionError
from latentsync.faces.masks import crops_to_pixels, masked_images, mouth_mask
from latentsync.files import whole_file
from latentsync.generation.latents import frames_at_once, scaled
from latentsync.shapes import Crops, Pixels, Windows
from latentsync.training.clips import AlignedClip
from latentsync.verbosity import bars_off
from latentsync.weights import state_dict_sha256

DIGITS = 12  # of a hash in a file's name
ENCODER = ("encoder.", "quant_conv.")  # the parts of a VAE's state that make latents
LATENTS_VERSION = 1  # raise it when a change makes the same clip and network give other latents

Posterior = Float[Tensor, "f d h w"]  # mean and standard deviation of scaled latents, one after the other on d = 2 c


# --- files ---


def _stamp(clip: AlignedClip, part: str) -> dict[str, str]:
    """The facts by which a file identifies its clip; `part` is "sound" or "video"."""
    facts = clip.facts["files"]
    known = facts["sound_sha256"] if part == "sound" else f"{clip.facts['source']['sha256']}/{facts['video_bytes']}"
    return {f"{part}_of": known}


def _is_whole(path: Path, stamp: dict[str, str], tensor: str, rows: int, axis: int) -> bool:
    """Whether a file exists, is readable, and belongs to this clip with its full length."""
    if not path.exists():
        return False
    with suppress(SafetensorError, OSError), safe_open(path, "pt") as file:
        return file.metadata() == stamp and file.get_slice(tensor).get_shape()[axis] == rows
    return False


def _write_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Writes a safetensors file, which appears only when it is complete.

    Raises:
        MediaError: it cannot be written.
    """
    try:
        with whole_file(path) as part:
            save_file(tensors, part, metadata)
    except OSError as error:
        raise MediaError(f"{path} cannot be written ({error.strerror}); check the disk and permissions") from error


@contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    """Opens a file that was written earlier, to read slices.

    Raises:
        MediaError: it does not exist or is damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise MediaError(f"{path} cannot be read ({error}); make the data set again, which computes it") from error


def _make_missing(
    clips: Sequence[AlignedClip],
    is_there: Callable[[AlignedClip], bool],
    make: Callable[[AlignedClip], None],
    what: str,
) -> None:
    """Makes the missing files. An interrupted run continues where it stopped; two processes may run at once."""
    missing = [clip for clip in clips if not is_there(clip)]
    for clip in tqdm(missing, unit="clip", desc=what, disable=bars_off() if missing else True):
        make(clip)


# --- Whisper's states ---


def states_path(clip: AlignedClip, whisper_hash: str) -> Path:
    """The path of a clip's states; `whisper_hash` is the first 12 digits of the encoder's SHA-256."""
    return clip.video.with_name(f"{clip.name}.whisper-{whisper_hash}.safetensors")


def cache_states(clips: Sequence[AlignedClip], whisper: WhisperStates) -> str:
    """Computes the missing Whisper states of clips, as at inference; returns the encoder's hash.

    Whisper always encodes 30 s, so a short clip takes as long as a long one.
    """
    digest = state_dict_sha256(whisper.encoder.state_dict())[:DIGITS]
    feature = Audio2Feature(whisper)

    def is_there(clip: AlignedClip) -> bool:
        rows = num_states(clip.num_frames * SAMPLES_PER_FRAME)
        return _is_whole(states_path(clip, digest), _stamp(clip, "sound"), "states", rows, axis=0)

    def make(clip: AlignedClip) -> None:
        states = feature.features(clip.waveform(), clip.sound.name)
        _write_tensors({"states": states.contiguous()}, states_path(clip, digest), _stamp(clip, "sound"))

    _make_missing(clips, is_there, make, "whisper states")
    return digest


def read_windows(clip: AlignedClip, whisper_hash: str, start: int, stop: int) -> Windows:
    """The audio windows of frames start..stop-1, (f, t, d): the same rows as of `Audio2Feature.feature2chunks`.

    Only the states of these windows are read from the file.

    Raises:
        MediaError: the clip's states do not exist; see `cache_states`.
    """
    with _opened(states_path(clip, whisper_hash)) as file:
        states = file.get_slice("states")
        total = states.get_shape()[0]
        indices = torch.tensor([window_indices(i, VIDEO_RATE_HZ, total) for i in range(start, stop)])
        low, high = int(indices.min()), int(indices.max()) + 1
        near = states[low:high]
    return rearrange(near[indices - low], "f t s d -> f (t s) d").float()


# --- augmentation ---


@dataclass(frozen=True)
class Augmentation:
    """An augmentation, which is the same for all frames of a sample.

    Attributes:
        flipped: whether they are mirrored left to right.
        tables: the new level of each level in each channel; None if nothing changes.
    """

    flipped: bool = False
    tables: UInt8[np.ndarray, "3 256"] | None = None

    @classmethod
    def drawn(cls, draw: np.random.Generator, flip: bool, colour_jitter: float) -> "Augmentation":
        """Draws an augmentation. It always draws six numbers, so that the options do not change later draws."""
        flipped = bool(draw.random() < 0.5) and flip
        return cls(flipped, _colour_tables(draw.uniform(-1, 1, 5), colour_jitter))

    def __call__(self, frames: Crops) -> Crops:
        """A copy of the frames, mirrored and recoloured."""
        frames = frames.flip(-1) if self.flipped else frames.clone()
        for c, table in enumerate(self.tables if self.tables is not None else ()):
            rows = frames[:, c].reshape(-1, frames.shape[-1]).numpy()
            frames[:, c] = torch.from_numpy(cv2.LUT(rows, table)).view_as(frames[:, c])
        return frames


def _colour_tables(draws: Float[np.ndarray, " 5"], strength: float) -> UInt8[np.ndarray, "3 256"] | None:
    """The new level of each level in each channel, from numbers in -1..1; None if nothing changes."""
    if strength == 0:
        return None
    contrast, brightness = 1 + strength * draws[0], 1 + strength * draws[1]
    gains = brightness * (1 + strength / 2 * draws[2:5])
    levels = (np.arange(256) - 127.5) * contrast + 127.5
    return np.rint(gains[:, None] * levels).clip(0, 255).astype(np.uint8)


# --- the VAE's latents ---


@dataclass(frozen=True)
class LatentFiles:
    """The VAE's latents of clips, on disk.

    Encoding takes most of a training step of a small UNet. With these files each frame is encoded only once per copy.
    The disadvantage: samples no longer have an augmentation of their own.

    Attributes:
        vae: encodes missing latents.
        mask: name of the mouth mask of the masked faces.
        copies: number of copies of each clip, each with its own augmentation; more copies reduce the disadvantage.
        flip, colour_jitter: see `windows.WindowSet`.
        seed: of the augmentations.
    """

    vae: AutoencoderKL
    mask: str
    copies: int = 1
    flip: bool = False
    colour_jitter: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.copies < 1:
            raise OptionError(f"latent copies are {self.copies}; at least 1 is needed")

    @cached_property
    def digest(self) -> str:
        """The HASH of the files' names; it does not depend on the VAE's decoder, which plays no part."""
        encoder = {name: value for name, value in self.vae.state_dict().items() if name.startswith(ENCODER)}
        parts = [LATENTS_VERSION, self.mask, self.copies, self.flip, self.colour_jitter, self.seed]
        parts += [
            state_dict_sha256(encoder),
            self.vae.config.scaling_factor,
            self.vae.config.shift_factor,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:DIGITS]

    def path(self, clip: AlignedClip) -> Path:
        return clip.video.with_name(f"{clip.name}.latents-{self.digest}.safetensors")

    def augmentation(self, clip: AlignedClip, copy: int) -> Augmentation:
        """The augmentation of a copy; a function of the seed, the clip's name and the copy."""
        name = int.from_bytes(hashlib.sha256(clip.name.encode()).digest()[:8])
        return Augmentation.drawn(np.random.default_rng([self.seed, name, copy]), self.flip, self.colour_jitter)

    def make(self, clips: Sequence[AlignedClip]) -> None:
        """Encodes the clips that have no file yet; see `read`."""
        _make_missing(clips, self._is_there, self._encode, "latents")

    def _is_there(self, clip: AlignedClip) -> bool:
        return _is_whole(self.path(clip), _stamp(clip, "video"), "faces", clip.num_frames, axis=1)

    @torch.no_grad()
    def _encode(self, clip: AlignedClip) -> None:
        frames = clip.frames()
        mask = mouth_mask(self.mask, frames.shape[-1])
        faces, masked = [], []
        for copy in range(self.copies):
            pixels = crops_to_pixels(self.augmentation(clip, copy)(frames))
            faces.append(self._posterior(pixels))
            masked.append(self._posterior(masked_images(pixels, mask)))
        tensors = {"faces": torch.stack(faces).contiguous(), "masked": torch.stack(masked).contiguous()}
        _write_tensors(tensors, self.path(clip), _stamp(clip, "video"))

    def _posterior(self, pixels: Pixels) -> Posterior:
        vae, parts = self.vae, []
        with torch.autocast(vae.device.type, torch.bfloat16, enabled=has_native(torch.bfloat16, vae.device)):
            for part in pixels.split(frames_at_once(pixels.shape[-1])):
                posterior = vae.encode(part.to(vae.device, vae.dtype)).latent_dist
                mean, deviation = scaled(vae, posterior.mean), posterior.std * vae.config.scaling_factor
                parts.append(torch.cat([mean, deviation], dim=1).half().cpu())
        return torch.cat(parts)

    def read(self, clip: AlignedClip, copy: int, part: str, start: int, stop: int) -> Posterior:
        """Mean and deviation of frames start..stop-1 in one copy, float32; `part` is "faces" or "masked".

        Raises:
            MediaError: the file does not exist; see `make`.
        """
        with _opened(self.path(clip)) as file:
            return file.get_slice(part)[copy : copy + 1, start:stop][0].float()
