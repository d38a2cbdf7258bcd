"""Assembles a model folder from the networks that trainings export."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import nn

from latentsync.checkpoints.model import (
    CONFIG_FILE,
    INDEX_FILE,
    SCHEDULER_FILE,
    WEIGHTS_FILE,
    load_network,
    model_folder,
    part_folder,
    plain_tensors,
)
from latentsync.config import SamplerOptions
from latentsync.device import named_dtype
from latentsync.errors import OptionError, WeightsError
from latentsync.files import whole_file, whole_files, whole_folder, write_text
from latentsync.metrics.own_syncnet import read_syncnet
from latentsync.training.clips import AlignedClip, find_clips
from latentsync.training.latent_space import bring_to_unit
from latentsync.unet.model import UNet3DConditionModel
from latentsync.weights import size_text
from latentsync.weights.folders import MODELS_DIR
from latentsync.weights.tensors import StateDict

LOADERS = {
    "vae": lambda folder: load_network(AutoencoderKL, folder),
    "unet": lambda folder: load_network(UNet3DConditionModel, folder),
    "syncnet": lambda folder: read_syncnet(folder)[0],
}
NEEDED = ("vae", "unet")  # a trained model needs the weights of these


@dataclass(frozen=True)
class Part:
    """A network to store: the bytes of its configuration, and its tensors."""

    config: str
    tensors: StateDict


def stored_part(network: nn.Module) -> Part:
    """A network as it is, in float32."""
    return Part(network.to_json_string(), plain_tensors(network))


def read_part(name: str, exported: Path, dtype: str, unit_clips: Sequence[AlignedClip] = ()) -> Part:
    """Reads a network from an exported folder and checks it against its configuration.

    Args:
        name: "vae", "unet" or "syncnet".
        exported: a folder with config.json and the weights, such as runs/training/NAME/weights/vae, or its parent.
        unit_clips: clips on which a VAE's latents are scaled to unit deviation; empty: the latents are not scaled.

    Raises:
        WeightsError: there is no such network, or its weights do not fit.
        OptionError: the dtype cannot represent its numbers.
    """
    folder = next((path for path in (exported, exported / name) if (path / CONFIG_FILE).is_file()), None)
    if folder is None or not (folder / WEIGHTS_FILE).is_file():
        raise WeightsError(
            f"{exported} has no {name} ({CONFIG_FILE} or {WEIGHTS_FILE} is missing); give the folder that a training "
            f"exported, runs/training/NAME/weights/{name}"
        )
    network, config = LOADERS[name](folder), (folder / CONFIG_FILE).read_text(encoding="utf-8")
    if unit_clips:
        bring_to_unit(network, unit_clips)
        scale = {key: network.config[key] for key in ("scaling_factor", "shift_factor")}
        config = json.dumps(json.loads(config) | scale, indent=2) + "\n"
    tensors = {key: _cast(tensor, dtype) for key, tensor in plain_tensors(network).items()}
    odd = [key for key, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if odd:
        raise OptionError(
            f"{folder / WEIGHTS_FILE} has numbers that {dtype} cannot represent ({odd[0]}); give another --dtype"
        )
    return Part(config, tensors)


def _cast(tensor: torch.Tensor, dtype: str) -> torch.Tensor:
    return tensor.to(named_dtype(dtype)) if tensor.is_floating_point() else tensor


def assemble(
    model_dir: str | Path,
    output_dir: Path,
    folders: dict[str, Path],
    name: str | None = None,
    trained: bool | None = None,
    dtype: str = "float32",
    unit_latents: Path | None = None,
    shares: bool = False,
    num_inference_steps: int | None = None,
) -> None:
    """Writes a model folder with the given networks.

    The folder becomes a copy of the base model with these networks in place of its own. It is written as a whole or not
    at all. If it is the base model itself, each file is replaced in one step. The networks are checked before anything
    is written.

    Args:
        model_dir: the base model: a shipped model by name, or a folder. Everything else comes from it unchanged.
        folders: the folders of the new networks, by "vae", "unet", "syncnet".
        name, trained, num_inference_steps: the model's name, whether it is trained, and how many steps are enough for
            it; None keeps the base model's value.
        dtype: the stored data type of the given networks' weights. They are loaded into float32 without further change.
        unit_latents: prepared clips on which the given VAE's latents are scaled to unit deviation; None: no scaling.
        shares: whether only the given networks are written, and all else is read from the base model, a shipped one.

    Raises:
        LatentSyncError: a folder does not have the expected files, or `trained` is set for a model without weights.
    """
    base = base_folder(model_dir)
    if unit_latents is not None and "vae" not in folders:
        raise OptionError("--unit_latents needs a new VAE; give --vae DIR too")
    unit_clips = {} if unit_latents is None else {"vae": find_clips(unit_latents)}
    parts = {part: read_part(part, folder, dtype, unit_clips.get(part, ())) for part, folder in folders.items()}
    SamplerOptions(num_inference_steps=num_inference_steps)  # it checks its values
    index = _index(base, parts, {"name": name, "trained": trained, "num_inference_steps": num_inference_steps})
    if shares and (base.parent != MODELS_DIR or "shares" in index or output_dir.resolve() == base.resolve()):
        raise OptionError(
            f"--shares needs a whole shipped model such as mini as the base, and another output folder; --model_dir is "
            f"{model_dir}, --output_dir {output_dir}"
        )
    if output_dir.resolve() == base.resolve():
        names = [f"{name}/{file}" for name in parts for file in (WEIGHTS_FILE, CONFIG_FILE)]
        with whole_files(output_dir, [*names, INDEX_FILE]) as part:
            _write(part, parts, index)
        return
    write_model(base, output_dir, parts, index, shares)


def base_folder(model_dir: str | Path, output_dir: Path | None = None) -> Path:
    """The folder of a model to begin with.

    Raises:
        WeightsError: there is no model.
        OptionError: it is `output_dir`, which is to be another one.
    """
    base = model_folder(model_dir)
    if not (base / INDEX_FILE).is_file():
        raise WeightsError(f"there is no model at {base} ({INDEX_FILE} is absent); give a model's name or its folder")
    if output_dir is not None and output_dir.resolve() == base.resolve():
        raise OptionError(f"--output_dir is the model's own folder, {output_dir}; give another one")
    return base


def write_untrained(
    base: Path, output_dir: Path, parts: dict[str, Part], facts: dict[str, object], scheduler: str | None = None
) -> None:
    """Writes the folder of a model that begins with the base model's weights and is still to be trained.

    Args:
        parts, scheduler: see `write_model`.
        facts: what the index says beside the base model's.
    """
    index = json.loads((base / INDEX_FILE).read_text(encoding="utf-8")) | facts | {"trained": False}
    index.pop("untrained_seed", None)
    write_model(base, output_dir, parts, index, scheduler=scheduler)


def write_model(
    base: Path,
    output_dir: Path,
    parts: dict[str, Part],
    index: dict,
    shares: bool = False,
    scheduler: str | None = None,
) -> None:
    """Writes a folder other than the base model's, as a whole or not at all.

    Args:
        parts: networks that take the place of the base model's, by "vae", "unet", "syncnet".
        index: the content of the model's index file.
        shares: see `assemble`.
        scheduler: the content of the scheduler's configuration; None: the base model's.

    Raises:
        OptionError: the folder exists and is not a model.
    """
    if output_dir.exists() and not _may_be_replaced(output_dir):
        raise OptionError(f"{output_dir} exists and is not a model; give a new folder with --output_dir")
    with whole_folder(output_dir) as folder:
        if shares:
            index["shares"] = base.name
        else:
            shutil.copytree(base, folder, ignore=shutil.ignore_patterns(".*"), dirs_exist_ok=True)
            _copy_shared(base, folder)
            index.pop("shares", None)
        if scheduler is not None:
            write_text(folder / "scheduler" / SCHEDULER_FILE, scheduler)
        _write(folder, parts, index)


def _copy_shared(base: Path, folder: Path) -> None:
    """Copies the parts that the base model reads from a shipped model."""
    for name in (*LOADERS, "scheduler"):
        if (source := part_folder(base, name)).is_dir() and not (folder / name).is_dir():
            shutil.copytree(source, folder / name)


def _may_be_replaced(folder: Path) -> bool:
    return folder.is_dir() and ((folder / INDEX_FILE).is_file() or not any(folder.iterdir()))


def _index(base: Path, parts: dict[str, Part], facts: dict[str, object]) -> dict:
    """The content of the model's index file.

    Args:
        facts: what it says in place of the base model's; None keeps that.

    Raises:
        OptionError: the model is said to be trained, but a network has no weights.
    """
    index = json.loads((base / INDEX_FILE).read_text(encoding="utf-8"))
    without = [part for part in NEEDED if part not in parts and not (part_folder(base, part) / WEIGHTS_FILE).is_file()]
    if facts["trained"] and without:
        raise OptionError(
            f"the {' and the '.join(without)} would have no weights, so the model is not trained; give "
            f"{' and '.join(f'--{part} DIR' for part in without)}, or leave out --trained"
        )
    if not without:
        index.pop("untrained_seed", None)
    return index | {key: value for key, value in facts.items() if value is not None}


def _write(folder: Path, parts: dict[str, Part], index: dict) -> None:
    """Replaces the files of the given networks, and the index."""
    for name, part in parts.items():
        with whole_file(folder / name / WEIGHTS_FILE) as path:
            save_file(part.tensors, path)
        write_text(folder / name / CONFIG_FILE, part.config)
    write_text(folder / INDEX_FILE, json.dumps(index, indent=2) + "\n")


def listing(folder: Path) -> list[str]:
    """The contents of a model folder, one line each."""
    sizes = {part: part_folder(folder, part) / WEIGHTS_FILE for part in LOADERS}
    lines = [
        f"{part:<8} {size_text(path.stat().st_size) if path.is_file() else 'no weights'}"
        for part, path in sizes.items()
    ]
    whole = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return [*lines, f"{folder}: {size_text(whole)} in all"]
