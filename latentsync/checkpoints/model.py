"""Loads a whole model from a folder in the diffusers layout or from the published files, and saves it as a folder.

model_index.json  unet/  vae/  scheduler/  whisper/  (whisper/ only where the model does not use a named Whisper)

A variant of a shipped model may store only the networks that differ. Its index names that model under "shares".
"""

import json
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, DDIMScheduler, ModelMixin, SchedulerMixin
from safetensors.torch import save_file
from torch import nn

from latentsync import weights
from latentsync.audio.features import Audio2Feature
from latentsync.audio.whisper_files import load_whisper, whisper_name_for
from latentsync.checkpoints.unet import load_unet, modern_vae_names, read_unet_config, recognise_unet
from latentsync.config import DEFAULT_NUM_FRAMES, DEFAULT_SIZE_PX, USUAL_STEPS, SamplerOptions, VideoOptions
from latentsync.constants import SOUND_RATE_HZ, VIDEO_RATE_HZ
from latentsync.errors import OptionError, WeightsError, did_you_mean
from latentsync.files import recover, whole_folder
from latentsync.unet.model import UNet3DConditionModel
from latentsync.weights.folders import INDEX_FILE, MODELS_DIR
from latentsync.weights.tensors import Place, load_built, load_exactly, read_state_dict

CONFIG_FILE = "config.json"
SCHEDULER_FILE = "scheduler_config.json"
WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
WHISPER_FILE = "whisper/model.safetensors"
PARTS = ("vae", "unet", "scheduler", "audio", "settings")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
UNTRAINED_GAIN = 0.5  # of layers that are zero at construction, so that an untrained network reacts to its input

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

# From the `data` part of every published configuration; another value would need another network
PUBLISHED_DATA = {"audio_sample_rate": SOUND_RATE_HZ, "video_fps": VIDEO_RATE_HZ, "audio_feat_length": [2, 2]}
PUBLISHED_NUM_FRAMES = 16

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
    """The settings that are saved with a model.

    Attributes:
        name: "mini", "latentsync", ...
        size_px: side of the aligned crop that it was trained on.
        num_frames: of a window.
        num_inference_steps: which are enough for it.
        mask: which of the original's mouth masks.
        whisper: the name of a Whisper, or "own" for the Whisper in the model's folder.
        trained: False for a network with seeded random weights, whose output is not lip sync.
        untrained_seed: seed of those weights, if they are not stored.
    """

    name: str
    size_px: int = DEFAULT_SIZE_PX
    num_frames: int = DEFAULT_NUM_FRAMES
    num_inference_steps: int = USUAL_STEPS
    mask: str = "mask"
    whisper: str = "tiny"
    trained: bool = True
    untrained_seed: int | None = None


def model_folder(model: str | Path) -> Path:
    """The folder of an embedded model, given its name; a folder stays as it is."""
    shipped = MODELS_DIR / str(model)
    return shipped if (shipped / INDEX_FILE).is_file() else Path(model)


def part_folder(model: str | Path, part: str) -> Path:
    """The folder of a part ("unet", "vae", "scheduler", "syncnet"): the model's own, or of the model that it shares.

    Raises:
        WeightsError: the model shares parts of a model that is not shipped.
    """
    folder = model_folder(model)
    index = folder / INDEX_FILE
    if (folder / part).is_dir() or not index.is_file():
        return folder / part
    shared = _config(index).get("shares")
    if shared is None:
        return folder / part
    if not (MODELS_DIR / str(shared) / INDEX_FILE).is_file():
        raise WeightsError(f"{index} shares parts of {shared!r}, which is no shipped model; save the model again")
    return MODELS_DIR / shared / part


def load_model(model: str | Path, place: Place | None = None, variant: str | None = None, **given: Any) -> dict:
    """The parts of a model as the pipeline's arguments: an embedded or a published one by name, or one in a folder.

    Args:
        model: "mini"; a folder in the diffusers layout; a published LatentSync such as "latentsync-1.6", or its id on
            the Hugging Face hub. Nothing is downloaded.
        place: of the UNet and the VAE; Whisper stays in float32 on the CPU.
        variant: of the weight files, as in diffusers: "fp16" reads `diffusion_pytorch_model.fp16.safetensors`.
        given: parts to use in place of the model's own, by name.

    Raises:
        WeightsError: there is no such model on this machine, or a part of it is missing or does not fit.
        OptionError: the name of a given part is unknown.
    """
    for name in given:
        if name not in PARTS:
            raise OptionError(f"from_pretrained() takes no {name}; {did_you_mean(name, PARTS)}")
    checkpoint = None if model_folder(model).is_dir() else weights.published_unet(str(model))
    if checkpoint is None:
        return load_folder(model, place, variant, **given)
    if variant is not None:
        raise OptionError(f"variant is {variant!r}, but {model} has one file in one precision; leave it out")
    return load_published(checkpoint, place=place) | given


def load_folder(model: str | Path, place: Place | None = None, variant: str | None = None, **given: Any) -> dict:
    """The parts of an embedded model (by name) or of a model folder, as the pipeline's arguments.

    Args:
        place, variant, given: see `load_model`.

    Raises:
        WeightsError: there is no such model, or a part of it is missing or does not fit.
    """
    folder = model_folder(model)
    recover(folder if folder.is_dir() else folder.parent)
    index = folder / INDEX_FILE
    if not index.is_file():
        raise WeightsError(_not_a_model(str(model), folder))
    content = _config(index)
    known = {f.name for f in fields(ModelSettings)}
    try:
        settings = ModelSettings(**{key: value for key, value in content.items() if key in known})
    except TypeError as error:
        raise WeightsError(
            f"{index} is not of this project's models ({error}); save one with save_pretrained"
        ) from error
    whisper = folder / WHISPER_FILE if settings.whisper == "own" else settings.whisper
    loaders = {
        "vae": lambda: _load_network(AutoencoderKL, part_folder(folder, "vae"), settings, place, variant),
        "unet": lambda: _load_network(UNet3DConditionModel, part_folder(folder, "unet"), settings, place, variant),
        "scheduler": lambda: _load_scheduler(part_folder(folder, "scheduler") / SCHEDULER_FILE),
        "audio": lambda: Audio2Feature(load_whisper(whisper)),
        "settings": lambda: settings,
    }
    return {name: load() for name, load in loaders.items() if name not in given} | given


def _not_a_model(name: str, folder: Path) -> str:
    """The message about a name that is no model here."""
    shipped = ", ".join(sorted(path.name for path in MODELS_DIR.iterdir() if path.is_dir()))
    published = ", ".join(sorted(str(Path(w.name).parent) for w in weights.CATALOGUE.values() if w.unet_config))
    choices = f"shipped models: {shipped}; published ones: {published}"
    if folder.is_dir() or not HUB_ID.fullmatch(name):
        return f"there is no model at {folder} ({INDEX_FILE} is absent); {choices}"
    return (
        f"{name} is no folder here; if it is an id of the Hugging Face hub, download it "
        f"(`hf download {name} --local-dir FOLDER`) and give the folder, since nothing is downloaded here; {choices}"
    )


def _load_scheduler(path: Path) -> SchedulerMixin:
    config = _config(path)
    name = config.get("_class_name", DDIMScheduler.__name__)
    kind = getattr(diffusers, name, None) if name.isidentifier() else None
    if not (isinstance(kind, type) and issubclass(kind, SchedulerMixin)):
        raise WeightsError(f"{path} names {name!r}, which is no scheduler of diffusers; save the model again")
    return kind.from_config(config)


def _config(path: Path) -> dict:
    if not path.is_file():
        raise WeightsError(f"the model has no {path}; save it again with save_pretrained")
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise WeightsError(f"{path} is damaged ({error}); save the model again with save_pretrained") from error


def _load_network(
    kind: type[nn.Module], folder: Path, settings: ModelSettings, place: Place | None, variant: str | None
) -> nn.Module:
    if settings.untrained_seed is not None and not (folder / WEIGHTS_FILE).exists():
        return seeded(kind, _config(folder / CONFIG_FILE), settings.untrained_seed)
    return load_network(kind, folder, place, variant)


def weights_file(variant: str | None = None) -> str:
    """The name of a network's weight file, of a variant such as "fp16" or of none."""
    if variant is None:
        return WEIGHTS_FILE
    if not variant.isidentifier():
        raise OptionError(f"variant is {variant!r}; give one word, such as fp16")
    return WEIGHTS_FILE.replace(".safetensors", f".{variant}.safetensors")


def load_network(
    kind: type[nn.Module], folder: Path, place: Place | None = None, variant: str | None = None
) -> nn.Module:
    """One network from its folder, ready for use. Weights stored in half precision keep their exact values.

    Args:
        variant: of the weight file, see `load_model`.

    Raises:
        WeightsError: the configuration or the weights are missing or damaged, or do not fit each other.
    """
    config = _config(folder / CONFIG_FILE)
    if (class_name := config.get("_class_name", kind.__name__)) != kind.__name__:
        raise WeightsError(f"{folder} holds {class_name}, but {kind.__name__} is needed; give the folder of such a one")
    file = folder / weights_file(variant)
    if variant is not None and not file.is_file():
        there = ", ".join(sorted(path.name for path in folder.glob("*.safetensors"))) or "no weights"
        raise WeightsError(f"there is no {file} for variant {variant!r}; the folder has {there}")
    return load_built(lambda: kind.from_config(config), file, place)


def seeded(kind: type[nn.Module], config: dict, seed: int) -> nn.Module:
    """A network with seeded random weights, which are the same on every machine."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = kind.from_config(config)
        for parameter in network.parameters():
            if parameter.ndim > 1 and not parameter.any():  # zero at construction
                nn.init.normal_(parameter, std=UNTRAINED_GAIN / parameter[0].numel() ** 0.5)
    return network.eval().requires_grad_(False)


def load_published(
    inference_ckpt_path: str | Path,
    unet_config_path: str | Path | None = None,
    vae: str | Path | None = None,
    whisper: str | Path | None = None,
    place: Place | None = None,
) -> dict:
    """The parts of a published LatentSync as the pipeline's arguments.

    Args:
        inference_ckpt_path: a UNet of 1.0, 1.5 or 1.6, or one fine-tuned from it: a file, or a name of
            `weights.CATALOGUE` such as "latentsync-1.6/latentsync_unet.pt".
        unet_config_path: its configuration in the original's schema; `data` gives crop size, window and mask. None
            takes the published configuration: for a name, that version's; for a file, the one that fits the tensors, at
            256 px. (1.6 was trained at 512 px, but its tensors do not show that.)
        vae: a file of the SD-VAE's shape; None takes stabilityai/sd-vae-ft-mse.
        whisper: a file of the multilingual Whisper it was trained with; None takes the published Whisper of its width.
        place: of the UNet and the VAE; Whisper stays in float32 on the CPU.

    Raises:
        WeightsError: the checkpoint does not fit the configuration, or the VAE or Whisper is not on this machine.
    """
    config = {} if unet_config_path is None else read_unet_config(unet_config_path)
    data = _published_data(config.get("data"), unet_config_path)
    named = weights.CATALOGUE.get(str(inference_ckpt_path))
    if unet_config_path is None and named is not None and named.size_px is not None:
        data["size_px"] = named.size_px
    checkpoint = _checkpoint_file(inference_ckpt_path)
    named_whisper = whisper_name_for(recognise_unet(checkpoint).cross_attention_dim)
    return {  # the small files first, so that a missing one is reported before gigabytes are read
        "audio": Audio2Feature(load_whisper(whisper or named_whisper)),
        "vae": load_sd_vae(vae, place),
        "unet": load_unet(checkpoint, config.get("model"), place),
        "scheduler": DDIMScheduler.from_config(LATENTSYNC_SCHEDULER),
        "settings": ModelSettings(
            name=f"latentsync:{checkpoint.parent.name}/{checkpoint.name}", whisper=named_whisper, **data
        ),
    }


def _checkpoint_file(checkpoint: str | Path) -> Path:
    """The file of a UNet, given by its path or by its name in the catalogue.

    Raises:
        WeightsError: there is no such file or name.
    """
    if Path(checkpoint).is_file():
        return Path(checkpoint)
    if str(checkpoint) in weights.CATALOGUE:
        return weights.locate(str(checkpoint))
    names = ", ".join(name for name in weights.CATALOGUE if name.endswith("unet.pt"))
    raise WeightsError(f"there is no weight file at {checkpoint}; check the path, or give one of {names}")


def _published_data(data: dict | None, source: str | Path | None) -> dict:
    """Crop size, window and mask from the `data` part of a published configuration.

    Raises:
        OptionError: a value is out of range, or the frame rate or audio context is not that of the published networks.
    """
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise OptionError(f"the `data:` part of {source} is {data!r}; `resolution: 256` and the like are read from it")
    for name, published in PUBLISHED_DATA.items():
        if data.get(name, published) != published:
            raise OptionError(f"{source} says {name} {data[name]}; the published networks have {published}")
    size_px = data.get("resolution", DEFAULT_SIZE_PX)
    num_frames = data.get("num_frames", PUBLISHED_NUM_FRAMES)
    mask_path = data.get("mask_image_path", "mask.png")
    if not isinstance(mask_path, str):
        raise OptionError(f"the `data:` part of {source} says mask_image_path {mask_path!r}; a file name is needed")
    settings = {"size_px": size_px, "num_frames": num_frames, "mask": Path(mask_path).stem}
    for make in (
        lambda: VideoOptions(width=size_px),
        lambda: VideoOptions(mask=settings["mask"]),
        lambda: SamplerOptions(num_frames=num_frames),
    ):
        try:
            make()
        except OptionError as error:
            raise OptionError(
                f"the `data:` part of {source} has resolution {size_px!r}, num_frames {num_frames!r} and mask "
                f"{settings['mask']!r}: {error}"
            ) from error
    return settings


def load_sd_vae(source: str | Path | None = None, place: Place | None = None) -> AutoencoderKL:
    """An autoencoder of stabilityai/sd-vae-ft-mse's shape; by default that very one, from `checkpoints/` or the cache.

    Raises:
        WeightsError: it is not on this machine; the message says where to get it.
    """
    path = Path(source) if source is not None else weights.locate("vae/diffusion_pytorch_model.safetensors")
    with torch.device("meta"):
        vae = AutoencoderKL.from_config(SD_VAE)
    return load_exactly(vae, modern_vae_names(read_state_dict(path), str(path)), str(path), place)


def save_folder(
    folder: str | Path,
    vae: AutoencoderKL,
    unet: UNet3DConditionModel,
    scheduler: SchedulerMixin,
    audio: Audio2Feature,
    settings: ModelSettings,
    variant: str | None = None,
) -> None:
    """Writes a model in the diffusers layout, every tensor as it is. A seeded model gets stored weights.

    The folder appears when it is complete, and replaces an existing one.

    Args:
        variant: of the weight files, see `load_model`.
    """
    with whole_folder(Path(folder)) as part:
        for name, network in (("vae", vae), ("unet", unet)):
            save_network(network, part / name, variant)
        scheduler.save_config(part / "scheduler")
        (part / "whisper").mkdir()
        encoder = {f"model.encoder.{name}": tensor for name, tensor in plain_tensors(audio.whisper.encoder).items()}
        save_file(encoder, part / WHISPER_FILE)
        content = {"_class_name": "LipsyncPipeline", **asdict(settings), "whisper": "own", "untrained_seed": None}
        (part / INDEX_FILE).write_text(json.dumps(content, indent=2) + "\n")


def save_network(network: nn.Module, folder: Path, variant: str | None = None) -> None:
    """Writes one network's configuration and weights, every tensor as it is."""
    network.save_config(folder)
    save_file(plain_tensors(network), folder / weights_file(variant))


def arguments_of(network: ModelMixin) -> dict[str, Any]:
    """The arguments that build such a network: its configuration without diffusers' own notes."""
    return {name: value for name, value in network.config.items() if not name.startswith("_")}


def plain_tensors(network: nn.Module) -> dict[str, torch.Tensor]:
    """A network's tensors, ready for a file."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}


def cast(network: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Moves a network. Hides diffusers' notice about modules that stay in float32, since these networks have none."""
    nn.Module.to(network, device=device, dtype=dtype)
