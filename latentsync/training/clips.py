"""Folders of aligned clips -> windows of frames, references and sound to train on. Knows nothing of Hydra or networks.

A clip is three files that `experiments.prepare` made: NAME.mp4 (aligned crops, 25 frames/s), NAME.wav (16 kHz mono, 16
bit) and NAME.json (facts). Whisper's states of a clip are computed once and lie beside it as
NAME.whisper-HASH.safetensors.

A sample depends on the seed, the epoch and its index alone: not on the number of workers, the order of access, or
whether frames come from memory or from the file.
"""

import bisect
import hashlib
import json
import logging
import math
import os
import wave
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import cv2
import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from latentsync.audio import RATE_HZ, Audio2Feature, num_states, window_indices
from latentsync.errors import MediaError, OptionError
from latentsync.media import VIDEO_RATE_HZ, read_frames
from latentsync.metrics.speech_features import MEL_HZ, wav2lip_mel
from latentsync.metrics.syncnet import SAMPLES_PER_FRAME
from latentsync.shapes import Crops, Waveform, Windows
from latentsync.weights import state_dict_sha256
from latentsync.whisper import WhisperStates

log = logging.getLogger(__name__)

FACTS_END, VIDEO_END, SOUND_END = ".json", ".mp4", ".wav"
REPORT_NAME = "report"  # of the prepare step; it is no clip
BULKY_FACTS = ("matrices", "truth")  # tens of kB a clip, read when they are asked for

REFERENCE_GAP_FRAMES = 25  # 1 s
MEMORY_BUDGET_BYTES = 4 << 30
WANTED = ("reference", "mel")


# --- clips ---


@dataclass(frozen=True)
class AlignedClip:
    """One piece that `experiments.prepare` made.

    Attributes:
        facts: the content of its JSON file, but for BULKY_FACTS.
    """

    name: str
    video: Path
    sound: Path
    facts: dict[str, Any] = field(repr=False, compare=False)

    @property
    def num_frames(self) -> int:
        return self.facts["frames"]

    @property
    def size_px(self) -> int:
        return self.facts["size_px"]

    @property
    def identity(self) -> str:
        """Who speaks, as a key: what the source's sidecar says, or else the source itself."""
        if self.facts.get("identity") is None:
            return f"source:{self.facts['source']['sha256']}"
        return f"identity:{json.dumps(self.facts['identity'], sort_keys=True)}"

    @property
    def matrices(self) -> Float[np.ndarray, "f 2 3"]:
        """Of each frame the affine, source frame px -> px of the crop box (`facts["crop_box_px"]`); read anew."""
        return np.array(self._read_facts()["matrices"])

    @property
    def truth(self) -> dict[str, list] | None:
        """What the source's sidecar tells of each frame, a list by column; None where it told nothing; read anew."""
        truth = self._read_facts().get("truth")
        return (
            None
            if truth is None
            else {name: [row[i] for row in truth["rows"]] for i, name in enumerate(truth["columns"])}
        )

    def _read_facts(self) -> dict[str, Any]:
        return json.loads(self.video.with_name(f"{self.name}{FACTS_END}").read_text(encoding="utf-8"))

    def frames(self, start: int = 0, stop: int | None = None) -> Crops:
        """Its crops start..stop-1, uint8 (f, 3, r, r), decoded from the file.

        Raises:
            MediaError: the video cannot be read or is shorter than its facts say.
        """
        stop = self.num_frames if stop is None else stop
        frames = [torch.from_numpy(frame) for frame in read_frames(self.video, VIDEO_RATE_HZ, start, stop)]
        if len(frames) != stop - start:
            raise MediaError(
                f"{self.video} gives {len(frames)} of the frames {start} to {stop}; prepare the folder again"
            )
        return rearrange(torch.stack(frames), "f h w c -> f c h w").contiguous()

    def waveform(self) -> Waveform:
        """Its sound, float32 -1..1, `(640 * num_frames,)`."""
        return _read_wav(self.sound)


def check_clips(folder: Path | str) -> tuple[list[AlignedClip], dict[str, str]]:
    """The clips of a folder by name, and what is left out, with the reason.

    Looks at facts, file sizes and the sound's header; decodes nothing.

    Raises:
        MediaError: the folder is missing.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MediaError(f"there is no folder at {folder}; give one that experiments.prepare wrote")
    names = {
        path.stem
        for path in folder.iterdir()
        if path.suffix in (FACTS_END, VIDEO_END) and not path.name.startswith(".")
    }
    clips, left_out = [], {}
    for name in sorted(names - {REPORT_NAME}):
        try:
            clips.append(_checked(name, folder))
        except MediaError as error:
            left_out[name] = str(error)
    return clips, left_out


def find_clips(folder: Path | str) -> list[AlignedClip]:
    """The clips of a folder by name; what is left out is told in the log, with the reason.

    Raises:
        MediaError: the folder is missing or holds no whole clip.
    """
    clips, left_out = check_clips(folder)
    for name, reason in left_out.items():
        log.warning("left out %s: %s", name, reason)
    if not clips:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(left_out.items())[:3])
        raise MediaError(
            f"{folder} holds no aligned clip ({reasons or 'it is empty'}); make some with "
            "python -m experiments.prepare --input_dir RAW --output_dir CLIPS"
        )
    return clips


def _checked(name: str, folder: Path) -> AlignedClip:
    """The clip of that name.

    Raises:
        MediaError: one of its files is absent, damaged or of another clip.
    """
    video, sound, facts_path = (folder / f"{name}{end}" for end in (VIDEO_END, SOUND_END, FACTS_END))
    if not facts_path.exists():
        raise MediaError(f"{facts_path.name} is absent: the clip was not finished; prepare the folder again")
    try:
        facts = json.loads(facts_path.read_text(encoding="utf-8"))
        sizes, frames = facts["files"], facts["frames"]
        wanted = {video: sizes["video_bytes"], sound: sizes["sound_bytes"]}
        known = (facts["size_px"], facts["source"]["sha256"], sizes["sound_sha256"], facts["fps"], facts["rate_hz"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MediaError(f"{facts_path.name} holds no facts of an aligned clip ({error!r})") from error
    if known[3:] != (VIDEO_RATE_HZ, RATE_HZ):
        raise MediaError(
            f"{name} has {known[3]} frames/s and {known[4]} Hz; {VIDEO_RATE_HZ:g} and {RATE_HZ} are needed"
        )
    for path, size in wanted.items():
        if not path.is_file():
            raise MediaError(f"{path.name} is absent; prepare the folder again")
        if path.stat().st_size != size:
            raise MediaError(f"{path.name} has {path.stat().st_size} bytes and had {size}; copy or prepare it again")
    _check_sound(sound, frames)
    return AlignedClip(name, video, sound, {key: fact for key, fact in facts.items() if key not in BULKY_FACTS})


def _check_sound(path: Path, num_frames: int) -> None:
    try:
        with wave.open(str(path), "rb") as file:
            form = file.getframerate(), file.getnchannels(), file.getsampwidth()
            samples = file.getnframes()
    except (OSError, EOFError, wave.Error) as error:
        raise MediaError(f"{path.name} is no WAV file ({error}); prepare the folder again") from error
    if form != (RATE_HZ, 1, 2) or samples != num_frames * SAMPLES_PER_FRAME:
        raise MediaError(
            f"{path.name} holds {samples} samples of {form[1]} x {8 * form[2]} bit at {form[0]} Hz; "
            f"{num_frames * SAMPLES_PER_FRAME} of 1 x 16 bit at {RATE_HZ} Hz go with its {num_frames} frames"
        )


def split(
    clips: Sequence[AlignedClip], held_out_share: float, seed: int = 0
) -> tuple[list[AlignedClip], list[AlignedClip]]:
    """Clips to train on and clips held out, by identity: none is on both sides.

    The identities are put in an order that the seed and their names decide, and the first ones are held out: as many
    as the share comes to, at least one and not all. Order and number of clips do not matter, and of a folder that grew
    most identities stay on their side.

    Args:
        held_out_share: of the identities, 0 up to but not 1; 0 holds none out.

    Raises:
        OptionError: the share is out of range, or there are too few identities to share out.
    """
    if not 0 <= held_out_share < 1:
        raise OptionError(f"held_out_share is {held_out_share}; it must be at least 0 and below 1 (0.05 is usual)")
    if held_out_share == 0:
        return list(clips), []
    identities = sorted(
        {clip.identity for clip in clips}, key=lambda key: hashlib.sha256(f"{seed}:{key}".encode()).hexdigest()
    )
    if len(identities) < 2:
        raise OptionError(
            f"the clips show {len(identities)} identity; at least 2 are needed to hold one out, or held_out_share=0"
        )
    number = min(max(round(held_out_share * len(identities)), 1), len(identities) - 1)
    held = set(identities[:number])
    return [clip for clip in clips if clip.identity not in held], [clip for clip in clips if clip.identity in held]


# --- Whisper's states ---


def states_path(clip: AlignedClip, whisper_hash: str) -> Path:
    """Where a clip's states lie; `whisper_hash` is the first 12 digits of the encoder's SHA-256."""
    return clip.video.with_name(f"{clip.name}.whisper-{whisper_hash}.safetensors")


def whisper_hash(whisper: WhisperStates) -> str:
    """The encoder's part in the name of its states: 12 digits of its tensors' SHA-256."""
    return state_dict_sha256(whisper.encoder.state_dict())[:12]


def cache_states(clips: Sequence[AlignedClip], whisper: WhisperStates) -> str:
    """Computes the Whisper states of all clips that lack them, as at inference; returns the encoder's hash.

    An interrupted run goes on where it stopped; of two processes at once both finish. Whisper takes 30 s at a time, so
    a short clip costs as much as a long one.
    """
    digest = whisper_hash(whisper)
    feature = Audio2Feature(whisper)
    missing = [clip for clip in clips if not _has_states(clip, states_path(clip, digest))]
    for clip in tqdm(missing, unit="clip", desc="whisper states", disable=None if missing else True):
        states = feature.features(clip.waveform(), clip.sound.name)
        _write_tensors({"states": states.contiguous()}, states_path(clip, digest), _stamp(clip))
    return digest


def _stamp(clip: AlignedClip) -> dict[str, str]:
    return {"sound_sha256": clip.facts["files"]["sound_sha256"]}


def _has_states(clip: AlignedClip, path: Path) -> bool:
    """Whether the states are there, whole, and of this very sound."""
    if not path.exists():
        return False
    with suppress(SafetensorError, OSError), safe_open(path, "pt") as file:
        rows = file.get_slice("states").get_shape()[0]
        return file.metadata() == _stamp(clip) and rows == num_states(clip.num_frames * SAMPLES_PER_FRAME)
    return False


def _write_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """A safetensors file that is there whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}-{uuid4().hex[:8]}.tmp")
    try:
        save_file(tensors, part, metadata)
        os.replace(part, path)
    except OSError as error:
        raise MediaError(f"{path} cannot be written ({error.strerror}); check the disk and permissions") from error
    finally:
        part.unlink(missing_ok=True)


def read_windows(clip: AlignedClip, whisper_hash: str, start: int, stop: int) -> Windows:
    """The audio windows of frames start..stop-1, (f, t, d): those rows of `Audio2Feature.feature2chunks`.

    Only the states that they need are read from the file.

    Raises:
        MediaError: the clip's states are not there; see `cache_states`.
    """
    path = states_path(clip, whisper_hash)
    try:
        with safe_open(path, "pt") as file:
            states = file.get_slice("states")
            total = states.get_shape()[0]
            indices = torch.tensor([window_indices(i, VIDEO_RATE_HZ, total) for i in range(start, stop)])
            low, high = int(indices.min()), int(indices.max()) + 1
            near = states[low:high]
    except (OSError, SafetensorError) as error:
        raise MediaError(f"{path} cannot be read ({error}); make the data set anew, which computes it") from error
    return rearrange(near[indices - low], "f t s d -> f (t s) d").float()


# --- windows ---


def mel_columns(num_frames: int) -> int:
    """How many mel columns go with so many frames: ceil(80 f / 25), which is SyncNet's 52 for its 16 frames."""
    return math.ceil(MEL_HZ * num_frames / VIDEO_RATE_HZ)


def reference_starts(start: int, num_frames: int, length: int, gap: int) -> list[int]:
    """Where a reference window may begin, so that all its frames are at least `gap` frames from all of the window's.

    Where the clip is too short for that, the one place that is farthest from the window (the earlier of two).

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

    An epoch has as many samples of a clip as windows fit into it side by side, each at a random place, so long clips
    count as much as they last. `windows[index, epoch]` is the same sample, and `windows[index]` that of epoch 0.

    A sample is a dict:
        frames: uint8 (f, 3, r, r), consecutive.
        reference: uint8 (f, 3, r, r), consecutive frames from another part of the clip; see `reference_starts`.
        audio: float32 (f, t, d), Whisper's states around each frame as at inference; absent without `whisper`.
        mel: float32 (80, ceil(80 f / 25)), -4..4, the columns from int(80 * start / 25) on, for SyncNet.
        clip: its number in `clips`. start, reference_start: first frames. flipped: whether it is mirrored.

    Args:
        clips: of one size; those shorter than a window are left out (`left_out` tells them).
        num_frames: of a window; 16 and 8 are the published models'.
        whisper: the encoder, whose states of all clips are computed now where they are missing; not kept.
        reference_gap_frames: how far a reference frame is from every frame of the window, at least; 25 is 1 s.
        seed: of all that is drawn.
        flip: mirrors half of the samples left to right, frames and reference alike; `flipped` tells which.
        colour_jitter: j changes contrast and brightness by factors of 1 - j .. 1 + j, and each channel by half of that,
            the same for all frames and reference of a sample; 0 is off, 0.1 is slight.
        wanted: which of "reference" and "mel" a sample has; what nobody needs costs nothing.
        memory_budget_bytes: crops are kept in memory if all of them fit in it, or else decoded for each sample.

    Raises:
        OptionError: a value is out of range, or the clips differ in size.
        MediaError: no clip is long enough, or one cannot be decoded.
    """

    def __init__(
        self,
        clips: Sequence[AlignedClip],
        num_frames: int = 16,
        whisper: WhisperStates | None = None,
        reference_gap_frames: int = REFERENCE_GAP_FRAMES,
        seed: int = 0,
        flip: bool = False,
        colour_jitter: float = 0.0,
        wanted: Sequence[str] = WANTED,
        memory_budget_bytes: int = MEMORY_BUDGET_BYTES,
    ) -> None:
        _check_options(num_frames, reference_gap_frames, seed, colour_jitter, wanted)
        self.num_frames, self.reference_gap_frames, self.seed = num_frames, reference_gap_frames, seed
        self.flip, self.colour_jitter, self.wanted = flip, colour_jitter, tuple(wanted)
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
        self._crops = self._loaded() if self.num_bytes <= memory_budget_bytes else None

    def __len__(self) -> int:
        return self._ends[-1]

    @property
    def num_bytes(self) -> int:
        """What all crops take in memory."""
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
                f"sample {index} of epoch {epoch} is asked for; there are 0 to {len(self) - 1}, from epoch 0"
            )
        draw = np.random.default_rng([self.seed, epoch, index])
        number = bisect.bisect_right(self._ends, index)
        clip, f = self.clips[number], self.num_frames
        # All is drawn in this order whatever the options, so that an augmentation changes no choice of windows.
        start = int(draw.integers(clip.num_frames - f + 1))
        reference_start = int(draw.choice(reference_starts(start, f, clip.num_frames, self.reference_gap_frames)))
        flipped = bool(draw.random() < 0.5) and self.flip
        colours = _colour_tables(draw.uniform(-1, 1, 5), self.colour_jitter)
        sample = {"clip": number, "start": start, "reference_start": reference_start, "flipped": flipped}
        sample["frames"] = _augmented(self._frames(number, start), flipped, colours)
        if "reference" in self.wanted:
            sample["reference"] = _augmented(self._frames(number, reference_start), flipped, colours)
        if "mel" in self.wanted:
            sample["mel"] = self._mel_window(clip, start)
        if self._whisper_hash is not None:
            sample["audio"] = read_windows(clip, self._whisper_hash, start, start + f)
        return sample

    def _frames(self, number: int, start: int) -> Crops:
        stop = start + self.num_frames
        return self.clips[number].frames(start, stop) if self._crops is None else self._crops[number][start:stop]

    def _loaded(self) -> list[Crops]:
        """All crops, views of one block that worker processes share."""
        total = sum(clip.num_frames for clip in self.clips)
        block = torch.empty(total, 3, self.size_px, self.size_px, dtype=torch.uint8)
        crops, place = [], 0
        for clip in tqdm(self.clips, unit="clip", desc="crops", disable=None):
            crops.append(block[place : place + clip.num_frames])
            crops[-1].copy_(clip.frames())
            place += clip.num_frames
        return crops

    def _mel_window(self, clip: AlignedClip, start: int) -> Float[Tensor, "80 m"]:
        first = int(MEL_HZ * start / VIDEO_RATE_HZ)
        return torch.from_numpy(_mel(clip)[:, first : first + mel_columns(self.num_frames)].copy())


def _mel(clip: AlignedClip) -> Float[np.ndarray, "80 t"]:
    """The clip's whole mel, so that windows at its edges hear what lies around them; the last ones are remembered."""
    return _mel_of(clip.sound, clip.facts["files"]["sound_sha256"])


@lru_cache(maxsize=512)  # 26 kB a second of sound
def _mel_of(sound: Path, sha256: str) -> Float[np.ndarray, "80 t"]:
    return wav2lip_mel(_read_wav(sound))


def _read_wav(path: Path) -> Waveform:
    with wave.open(str(path), "rb") as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return samples.astype(np.float32) / 32768


def _check_options(
    num_frames: int, reference_gap_frames: int, seed: int, colour_jitter: float, wanted: Sequence[str]
) -> None:
    values = {"num_frames": (num_frames, 1), "reference_gap_frames": (reference_gap_frames, 1), "seed": (seed, 0)}
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


def _colour_tables(draws: Float[np.ndarray, " 5"], strength: float) -> UInt8[np.ndarray, "3 256"] | None:
    """What becomes of each level in each channel, from numbers of -1..1; None where nothing changes."""
    if strength == 0:
        return None
    contrast, brightness = 1 + strength * draws[0], 1 + strength * draws[1]
    gains = brightness * (1 + strength / 2 * draws[2:5])
    levels = (np.arange(256) - 127.5) * contrast + 127.5
    return np.rint(gains[:, None] * levels).clip(0, 255).astype(np.uint8)


def _augmented(frames: Crops, flipped: bool, colours: UInt8[np.ndarray, "3 256"] | None) -> Crops:
    """A copy of the frames, mirrored and recoloured as asked."""
    frames = frames.flip(-1) if flipped else frames.clone()
    if colours is None:
        return frames
    for c, table in enumerate(colours):
        rows = frames[:, c].reshape(-1, frames.shape[-1]).numpy()
        frames[:, c] = torch.from_numpy(cv2.LUT(rows, table)).view_as(frames[:, c])
    return frames
