"""What the files of W&B's offline runs hold."""

import json
import struct
from pathlib import Path


def log_records(data: bytes):
    """The records of a LevelDB log, which an offline run's file is behind a 7-byte header of its own."""
    block_size, header_size, position, parts = 32768, 7, 7, []
    while position + header_size <= len(data):
        if block_size - position % block_size < header_size:  # the rest of a block is padding
            position += block_size - position % block_size
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        parts.append(data[position + header_size : position + header_size + length])
        position += header_size + length
        if kind in (1, 4):  # a full record, or its last part
            yield b"".join(parts)
            parts = []


def wandb_file(runs: Path, identifier: str) -> dict:
    """What the file of the only offline run of that id holds, read with wandb's own messages; its folder, too."""
    from wandb.proto import wandb_internal_pb2

    (path,) = (runs / "wandb").glob(f"offline-run-*-{identifier}*/*.wandb")
    content = {
        "folder": path.parent / "files",
        "config": {},
        "history": {},
        "summary": {},
        "run": None,
        "artifacts": {},
        "axes": {},
        "exit": None,
    }
    for data in log_records(path.read_bytes()):
        message = wandb_internal_pb2.Record.FromString(data)
        kind = message.WhichOneof("record_type")
        if kind == "run":
            content["run"] = message.run
            content["config"] |= {item.key: json.loads(item.value_json) for item in message.run.config.update}
        elif kind in ("history", "summary"):
            items = message.history.item if kind == "history" else message.summary.update
            content[kind] |= {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}
        elif kind == "metric":
            content["axes"][message.metric.name] = message.metric.step_metric
        elif kind == "exit":
            content["exit"] = message.exit.exit_code
        elif kind == "artifact":
            content["artifacts"][message.artifact.name] = {
                entry.path: Path(entry.local_path) for entry in message.artifact.manifest.contents
            }
    return content
