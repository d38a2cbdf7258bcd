"""Small clips as the prepare step writes them."""

import hashlib
import json
import wave

import numpy as np

from latentsync.media import VideoWriter

SIZE = 64


def write_clip(folder, name, num_frames, identity=None, size_px=SIZE, source="a"):
    """A clip whose left half tells the frame's number by its grey; the right half is red."""
    with VideoWriter(folder / f"{name}.mp4", size_px, size_px, crf=10) as writer:
        for i in range(num_frames):
            picture = np.full((size_px, size_px, 3), 30 + 2 * i, np.uint8)
            picture[:, size_px // 2 :] = (200, 40, 60)
            writer.write(picture)
    draw = np.random.default_rng(num_frames)
    samples = (3000 * draw.standard_normal(640 * num_frames)).astype(np.int16)
    with wave.open(str(folder / f"{name}.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(samples.tobytes())
    sound = (folder / f"{name}.wav").read_bytes()
    facts = {
        "name": name, "frames": num_frames, "size_px": size_px, "fps": 25.0, "rate_hz": 16000,
        "source": {"video": "a.mp4", "sha256": source},
        "matrices": [[[1.0, 0, 0], [0, 1.0, i]] for i in range(num_frames)],
        "truth": {"columns": ["phone", "lip_gap_px"], "rows": [["ah", 0.5 * i] for i in range(num_frames)]},
        "files": {
            "video_bytes": (folder / f"{name}.mp4").stat().st_size,
            "sound_bytes": len(sound),
            "sound_sha256": hashlib.sha256(sound).hexdigest(),
        },
    }  # fmt: skip
    if identity is not None:
        facts["identity"] = identity
    (folder / f"{name}.json").write_text(json.dumps(facts))
