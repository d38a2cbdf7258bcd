"""A whole model <-> a folder in the diffusers layout, or the published files. Knows no video.

model_index.json  unet/  vae/  scheduler/  whisper/  (whisper/ only where the model does not use a named Whisper)
"""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler
from safetensors.torch import save_file
from torch import nn

from latentsync import weights
from latentsync.audio import Audio2Feature
from latentsync.checkpoints import (
    load_exactly,
    load_unet,
    load_whisper,
    modern_vae_names,
    read_state_dict,
    read_unet_config,
    whisper_name_for,
)
from latentsync.config import DEFAULT_NUM_FRAMES, DEFAULT_SIZE_PX
from latentsync.errors import OptionError, WeightsError
from latentsync.unet import UNet3DConditionModel

MODELS_DIR = Path(__file__).parent / "models"  # the models that the project ships
INDEX_FILE = "model_index.json"
WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
WHISPER_FILE = "whisper/model.safetensors"
UNTRAINED_GAIN = 0.5  # of the layers that are zero at construction, so that an untrained network answers to its input

# stabilityai/sd-vae-ft-mse, with the factors that LatentSync's code sets
SD_VAE = {
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "norm_num_groups": 32,
    "sample_size": 256,
    "scaling_factor": 0.18215,
    "shift_factor": 0.0,
}

# configs/scheduler_config.json of the original
LATENTSYNC_SCHEDULER = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


@dataclass(frozen=True)
class ModelSettings:
    """What a model says of itself.

    Attributes:
        name: "mini", "latentsync", ...
        size_px: side of the aligned crop it was made for.
        num_frames: of a window.
        mask: which of the original's mouth masks.
        whisper: a named Whisper, or "own" for the one in the model's folder.
        trained: False for a network with seeded weights, whose output is plumbing only.
        untrained_seed: of those weights where they are not stored.
    """

    name: str
    size_px: int = DEFAULT_SIZE_PX
    num_frames: int = DEFAULT_NUM_FRAMES
    mask: str = "mask"
    whisper: str = "tiny"
    trained: bool = True
    untrained_seed: int | None = None


def load_folder(model: str | Path) -> dict:
    """The parts of an embedded model (by name) or of a model folder, as the pipeline's arguments, in float32.

    Raises:
        WeightsError: no such model, or a part of it is missing or does not fit.
    """
    folder = MODELS_DIR / str(model) if (MODELS_DIR / str(model) / INDEX_FILE).is_file() else Path(model)
    index = folder / INDEX_FILE
    if not index.is_file():
        shipped = ", ".join(sorted(path.name for path in MODELS_DIR.iterdir() if path.is_dir()))
        raise WeightsError(f"there is no model at {folder} ({INDEX_FILE} is absent); shipped models: {shipped}")
    content = _config(index)
    known = {f.name for f in fields(ModelSettings)}
    try:
        settings = ModelSettings(**{key: value for key, value in content.items() if key in known})
    except TypeError as error:
        raise WeightsError(
            f"{index} is not of this project's models ({error}); save one with save_pretrained"
        ) from error
    whisper = folder / WHISPER_FILE if settings.whisper == "own" else settings.whisper
    return {
        "vae": _load_network(AutoencoderKL, folder / "vae", settings),
        "unet": _load_network(UNet3DConditionModel, folder / "unet", settings),
        "scheduler": DDIMScheduler.from_config(_config(folder / "scheduler" / "scheduler_config.json")),
        "audio": Audio2Feature(load_whisper(whisper)),
        "settings": settings,
    }


def _config(path: Path) -> dict:
    if not path.is_file():
        raise WeightsError(f"the model has no {path}; save it again with save_pretrained")
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise WeightsError(f"{path} is damaged ({error}); save the model again with save_pretrained") from error


def _load_network(kind: type[nn.Module], folder: Path, settings: ModelSettings) -> nn.Module:
    config = _config(folder / "config.json")
    if settings.untrained_seed is not None:
        return seeded(kind, config, settings.untrained_seed)
    state_dict = read_state_dict(folder / WEIGHTS_FILE)
    with torch.device("meta"):
        network = kind.from_config(config)
    load_exactly(network, {name: tensor.float() for name, tensor in state_dict.items()}, str(folder / WEIGHTS_FILE))
    return network.eval().requires_grad_(False)


def seeded(kind: type[nn.Module], config: dict, seed: int) -> nn.Module:
    """A network of the configuration with seeded random weights; the same on every machine."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = kind.from_config(config)
        for parameter in network.parameters():
            if parameter.ndim > 1 and not parameter.any():  # zero at construction
                nn.init.normal_(parameter, std=UNTRAINED_GAIN / parameter[0].numel() ** 0.5)
    return network.eval().requires_grad_(False)


def load_published(inference_ckpt_path: str | Path, unet_config_path: str | Path) -> dict:
    """The parts of a published LatentSync as the pipeline's arguments, in float32.

    Args:
        inference_ckpt_path: `latentsync_unet.pt` of 1.0, 1.5 or 1.6, or a UNet fine-tuned from one.
        unet_config_path: its configuration in the original's schema; `data` gives crop size, window and mask.

    Raises:
        WeightsError: the checkpoint does not fit the configuration, or the VAE or Whisper is not on this machine.
    """
    config = read_unet_config(unet_config_path)
    data = config.get("data") or {}
    try:
        size_px, num_frames = (
            int(data.get("resolution", DEFAULT_SIZE_PX)),
            int(data.get("num_frames", DEFAULT_NUM_FRAMES)),
        )
        mask = Path(data.get("mask_image_path", "mask.png")).stem
    except (TypeError, ValueError, AttributeError) as error:
        raise OptionError(
            f"the `data:` part of {unet_config_path} is not as published ({error}); "
            f"resolution, num_frames and mask_image_path are read from it"
        ) from error
    unet = load_unet(inference_ckpt_path, config["model"])
    whisper = whisper_name_for(unet.config.cross_attention_dim)
    settings = ModelSettings(
        name=f"latentsync:{Path(inference_ckpt_path).name}",
        size_px=size_px,
        num_frames=num_frames,
        mask=mask,
        whisper=whisper,
    )
    return {
        "vae": load_sd_vae(),
        "unet": unet,
        "scheduler": DDIMScheduler.from_config(LATENTSYNC_SCHEDULER),
        "audio": Audio2Feature(load_whisper(whisper)),
        "settings": settings,
    }


def load_sd_vae() -> AutoencoderKL:
    """stabilityai/sd-vae-ft-mse from `checkpoints/` or the cache, in float32.

    Raises:
        WeightsError: it is not on this machine; says where to get it.
    """
    path = weights.locate("vae/diffusion_pytorch_model.safetensors")
    with torch.device("meta"):
        vae = AutoencoderKL.from_config(SD_VAE)
    state_dict = modern_vae_names(read_state_dict(path))
    load_exactly(vae, {name: tensor.float() for name, tensor in state_dict.items()}, str(path))
    return vae.eval().requires_grad_(False)


def save_folder(
    folder: str | Path,
    vae: AutoencoderKL,
    unet: UNet3DConditionModel,
    scheduler: DDIMScheduler,
    audio: Audio2Feature,
    settings: ModelSettings,
) -> None:
    """Writes a model in the diffusers layout, every tensor as it is; a seeded model becomes one with stored weights."""
    folder = Path(folder)
    for name, network in (("vae", vae), ("unet", unet)):
        network.save_config(folder / name)
        save_file(_plain(network), folder / name / WEIGHTS_FILE)
    scheduler.save_config(folder / "scheduler")
    (folder / "whisper").mkdir(exist_ok=True)
    encoder = {f"model.encoder.{name}": tensor for name, tensor in _plain(audio.whisper.encoder).items()}
    save_file(encoder, folder / WHISPER_FILE)
    content = {"_class_name": "LipsyncPipeline", **asdict(settings), "whisper": "own", "untrained_seed": None}
    (folder / INDEX_FILE).write_text(json.dumps(content, indent=2) + "\n")


def _plain(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}


def cast(network: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Moves a network, without diffusers' notice about modules kept in float32 (these have none)."""
    nn.Module.to(network, device=device, dtype=dtype)
