"""What a finished record says, as far as tables go, without generating anything."""

import os
from pathlib import Path

from latentsync.files import write_json
from latentsync.lab.records.identity import record_id
from latentsync.lab.records.store import CURVES_FILE, METRICS_FILE, PROVEN, RECORD_FILE, Record, RecordStore
from latentsync.metrics.definitions import entry
from latentsync.proof import STRETCH_BYTES, STRETCHES, proof_of

METRICS = {
    "sync_mini_confidence": entry(
        "sync_mini_confidence", 1 / 3, network="mini", weights="1234567e8901", used=9, left_out=1
    ),
    "sync_mini_offset": entry("sync_mini_offset", -2, network="mini", weights="1234567e8901"),
    "lpips_alex": entry("lpips_alex", None, "no frame shows a face", network="LPIPS v0.1 alex"),
}


def content(record_id, name="g-a__g-v", gender="female", seed=1247, guidance_scale=1.8, **pair):
    """What a record says, as far as tables go."""
    clip, voice = name.split("__")
    files = {"clip": {"name": f"{clip}.mp4", "sha256": "12e4"}, "voice": {"name": f"{voice}.wav", "sha256": "0077"}}
    options = {"guidance_scale": guidance_scale, "num_inference_steps": 20, "seed": seed, "num_frames": 8,
               "size_px": 128, "mask": "mask", "reference": "same", "dtype": "float32"}  # fmt: skip
    return {
        "id": record_id,
        "pair": {"name": name, "gender": gender, **files, **pair},
        "attention": "sdpa",
        "model": {"name": "mini", "trained": True},
        "preset": {"name": "by_gender", "guidance_from": "preset"},
        "options": options,
        "video": {"num_frames": 30},
        "timings_s": {"total": 12.3},
    }


def sound_record(runs: Path, number: int, **facts) -> Record:
    """A record with an identity and a proof, as a run makes it; `facts` as for `content`."""
    identity = {"number": number}
    name = record_id(identity)
    with RecordStore(runs).new(name) as folder:
        for file in PROVEN:
            (folder / file).write_bytes(os.urandom(STRETCHES * STRETCH_BYTES + 1000))
        write_json(folder / METRICS_FILE, METRICS)
        write_json(folder / CURVES_FILE, {"lip_gap": [0.1]})
        proof = proof_of(folder / file for file in PROVEN)
        write_json(folder / RECORD_FILE, content(name, **facts) | {"identity": identity, "files": proof})
    return RecordStore(runs).look(name)
