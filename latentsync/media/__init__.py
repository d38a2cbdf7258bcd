"""Video and sound files: frames at a constant rate, 16 kHz mono sound, and one encode with a sound.

Everything goes through FFmpeg's libraries (PyAV) inside this process: no program is started, so a path may hold any
character. Reading is streamed: memory does not depend on the length of the clip. This package does not know faces or
models, and loads without torch.

Conventions: frames are uint8 RGB `(h, w, 3)` as a player shows them: the file's rotation is applied and pixels are
square. Sound is float32 mono, -1..1. Pictures and sound of a file have one clock, which starts with the first frame; in
a file with sound only it starts with the first sample that is heard.
"""

from latentsync.constants import VIDEO_RATE_HZ
from latentsync.media.frames import (
    VideoInfo,
    frame_times,
    probe,
    read_frames,
    read_frames_in_order,
)
from latentsync.media.order import arranged, ping_pong
from latentsync.media.sound import SoundInfo, probe_sound, read_sound
from latentsync.media.writer import VideoWriter

__all__ = [
    "VIDEO_RATE_HZ",
    "SoundInfo",
    "VideoInfo",
    "VideoWriter",
    "arranged",
    "frame_times",
    "ping_pong",
    "probe",
    "probe_sound",
    "read_frames",
    "read_frames_in_order",
    "read_sound",
]
