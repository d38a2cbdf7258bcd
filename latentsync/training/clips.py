"""Folders of aligned clips: finds, checks, reads and splits them. Knows nothing of Hydra or networks.

A clip is three files that `latentsync prepare` writes: NAME.mp4 (aligned crops, 25 frames/s), NAME.wav (16 kHz mono, 16
bit) and NAME.json (facts). Outputs of frozen networks for it lie beside these files, see `features`.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float

from latentsync.constants import SAMPLES_PER_FRAME, SOUND_RATE_HZ, VIDEO_RATE_HZ
from latentsync.errors import MediaError, OptionError
from latentsync.media import read_frames
from latentsync.media.sound import probe_wav, read_wav, to_float
from latentsync.shapes import Crops, Waveform

log = logging.getLogger(__name__)

FACTS_END, VIDEO_END, SOUND_END = ".json", ".mp4", ".wav"
REPORT_NAME = "report"  # of the prepare step; it is not a clip
BULKY_FACTS = ("matrices", "truth")  # tens of kB per clip, read only when needed


# --- clips ---


@dataclass(frozen=True)
class AlignedClip:
    """One piece that `latentsync prepare` wrote.

    Attributes:
        facts: the content of its JSON file, without BULKY_FACTS.
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
        """A key for the speaker: the identity in the source's sidecar, or else the source itself."""
        if self.facts.get("identity") is None:
            return f"source:{self.facts['source']['sha256']}"
        return f"identity:{json.dumps(self.facts['identity'], sort_keys=True)}"

    @property
    def matrices(self) -> Float[np.ndarray, "f 2 3"]:
        """The affine of each frame, source frame px -> px of the crop box (`facts["crop_box_px"]`); read each time."""
        return np.array(self._read_facts()["matrices"])

    @property
    def truth(self) -> dict[str, list] | None:
        """The sidecar's truth for each frame, one list per column; None if there is none; read each time."""
        truth = self._read_facts().get("truth")
        return (
            None
            if truth is None
            else {name: [row[i] for row in truth["rows"]] for i, name in enumerate(truth["columns"])}
        )

    def _read_facts(self) -> dict[str, Any]:
        return json.loads(self.video.with_name(f"{self.name}{FACTS_END}").read_text(encoding="utf-8"))

    def frames(self, start: int = 0, stop: int | None = None) -> Crops:
        """The crops start..stop-1, uint8 (f, 3, r, r), decoded from the file.

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
        """The sound, float32 -1..1, `(640 * num_frames,)`."""
        return to_float(read_wav(self.sound)[0])


def check_clips(folder: Path | str) -> tuple[list[AlignedClip], dict[str, str]]:
    """The clips of a folder by name, and the reason for each clip that is left out.

    Checks facts, file sizes and the sound's header; decodes nothing.

    Raises:
        MediaError: the folder is missing.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MediaError(f"there is no folder at {folder}; give one that latentsync prepare wrote")
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
    """The clips of a folder by name; the log names those that are left out, with the reason.

    Raises:
        MediaError: the folder is missing or holds no complete clip.
    """
    clips, left_out = check_clips(folder)
    for name, reason in left_out.items():
        log.warning("left out %s: %s", name, reason)
    if not clips:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(left_out.items())[:3])
        raise MediaError(
            f"{folder} holds no aligned clip ({reasons or 'it is empty'}); make some with "
            "latentsync prepare --input_dir RAW --output_dir CLIPS"
        )
    return clips


def _checked(name: str, folder: Path) -> AlignedClip:
    """The clip of that name.

    Raises:
        MediaError: one of its files is absent, damaged or belongs to another clip.
    """
    video, sound, facts_path = (folder / f"{name}{end}" for end in (VIDEO_END, SOUND_END, FACTS_END))
    if not facts_path.exists():
        raise MediaError(f"{facts_path.name} is absent: the clip was not finished; prepare the folder again")
    try:
        facts = json.loads(facts_path.read_text(encoding="utf-8"))
        sizes, frames = facts["files"], facts["frames"]
        wanted = {video: sizes["video_bytes"], sound: sizes["sound_bytes"]}
        known = (facts["size_px"], facts["source"]["sha256"], sizes["sound_sha256"], facts["fps"], facts["rate_hz"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise MediaError(f"{facts_path.name} holds no facts of an aligned clip ({error!r})") from error
    if known[3:] != (VIDEO_RATE_HZ, SOUND_RATE_HZ):
        raise MediaError(
            f"{name} has {known[3]} frames/s and {known[4]} Hz; {VIDEO_RATE_HZ:g} and {SOUND_RATE_HZ} are needed"
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
        info = probe_wav(path)
    except MediaError as error:
        raise MediaError(f"{error}; prepare the folder again") from error
    needed = num_frames * SAMPLES_PER_FRAME
    if (info.rate_hz, info.channels, info.codec, info.num_samples) != (SOUND_RATE_HZ, 1, "pcm_s16le", needed):
        raise MediaError(
            f"{path.name} holds {info.num_samples} samples of {info.channels} x {info.codec} at {info.rate_hz} Hz; "
            f"{needed} of 1 x pcm_s16le at {SOUND_RATE_HZ} Hz are needed for {num_frames} frames; prepare it again"
        )


def split(
    clips: Sequence[AlignedClip], held_out_share: float, seed: int = 0
) -> tuple[list[AlignedClip], list[AlignedClip]]:
    """Splits clips into those to train on and those held out. No identity is on both sides.

    The seed and the names of the identities decide their order, and the first ones are held out: as many as the share
    gives, at least one and not all. The order and number of clips do not matter. If a folder grows, most identities
    stay on their side.

    Args:
        held_out_share: of the identities, at least 0 and below 1; 0 holds none out.

    Raises:
        OptionError: the share is out of range, or there are too few identities.
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
