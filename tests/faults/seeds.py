"""Whole files of every other kind that the product reads, to be changed at random."""

import io
import json
from pathlib import Path

import torch
from record_content import METRICS, content
from safetensors.torch import save

ROOT = Path(__file__).resolve().parents[2]


def checkpoints() -> dict[str, bytes]:
    """Weights in both formats, and the parts of a training's checkpoint."""
    tensors = {f"block.{i}.weight": torch.arange(12.0).reshape(3, 4) + i for i in range(4)}
    seeds = {"a.safetensors": save(tensors), "a__networks.safetensors": save(tensors, {"step": "1"})}
    for name, held in (
        ("a.pt", {"state_dict": tensors}),
        ("a__optimizer.pt", {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-4, "params": [0]}]}),
    ):
        data = io.BytesIO()
        torch.save(held, data)
        seeds[name] = data.getvalue()
    data = io.BytesIO()
    torch.save({"state_dict": tensors}, data, _use_new_zipfile_serialization=False)
    seeds["old.pt"] = data.getvalue()
    seeds["a__state.json"] = json.dumps({"step": 1, "position": [0, 3], "options": {"lr": 1e-4}}).encode()
    return seeds


def configurations() -> dict[str, bytes]:
    """An experiment of one's own, and a published UNet configuration."""
    return {
        "quickstart.yaml": (ROOT / "conf/experiment/quickstart.yaml").read_bytes(),
        "unet.yaml": (ROOT / "conf/unet/second_stage.yaml").read_bytes(),
    }


def lists() -> dict[str, bytes]:
    """Lists of pairs, as programs and spreadsheets write them."""
    rows = "clip,voice,gender,group,split,face,name\n" + "".join(
        f"{name}.mp4,{name}.wav,{gender},p{name},test,largest,{name}-1\n"
        for name, gender in (("a", "female"), ("b", ""))
    )
    return {
        "a.csv": rows.encode(), "b.csv": rows.replace(",", ";").encode("utf-16"),
        "c.tsv": rows.replace(",", "\t").encode("latin-1"),
    }  # fmt: skip


def records() -> dict[str, bytes]:
    """The files of a record."""
    record = content("0123456789abcdef") | {"identity": {"options": {"seed": 1}}, "versions": {"torch": "2.14.1"}}
    return {
        "a__record.json": json.dumps(record, indent=1).encode(),
        "a__metrics.json": json.dumps(METRICS).encode(),
        "a__curves.json": json.dumps({"lip_gap": [0.1, 0.2, None]}).encode(),
    }
