"""Whether the files and folders that a configuration names are on this machine. Nothing is loaded."""

from pathlib import Path

from latentsync import weights
from latentsync.errors import OptionError, WeightsError
from latentsync.lab.options.schema import ModelConfig
from latentsync.weights.folders import INDEX_FILE, MODELS_DIR

VAE = "vae/diffusion_pytorch_model.safetensors"


def require_folder_to_write(name: str, folder: Path) -> None:
    """Refuses a folder that cannot be made, because a file is in its place.

    Raises:
        OptionError: naming the option and the file.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise OptionError(f"{name} is {folder}, but {there} is a file; give another folder")


def require_model_folder(option: str, model: str) -> None:
    """Refuses a model that is neither shipped nor published nor a folder of a model.

    Args:
        option: the name of the option that gives it.

    Raises:
        WeightsError: naming the option and the folder.
    """
    if any((folder / INDEX_FILE).is_file() for folder in (MODELS_DIR / model, Path(model))):
        return
    if (unet := weights.published_unet(model)) is not None:
        _require(option, None, unet)
    else:
        shipped = ", ".join(sorted(path.parent.name for path in MODELS_DIR.glob(f"*/{INDEX_FILE}")))
        raise WeightsError(
            f"{option} is {model}, and there is no model at {model} ({INDEX_FILE} is absent); give a folder that "
            f"save_pretrained wrote, or a shipped model: {shipped}"
        )


def require_model(model: ModelConfig) -> None:
    """Refuses a model of which a file is missing. Weights that are fetched when they are needed count as present.

    Raises:
        WeightsError: naming the option and the file, or how to fetch it.
    """
    if model.pretrained is not None:
        require_model_folder("model.pretrained", model.pretrained)
        return
    checkpoint = model.inference_ckpt_path
    _require("inference_ckpt_path", checkpoint, checkpoint if checkpoint in weights.CATALOGUE else None)
    _require("vae", model.vae, VAE if model.vae is None else None)
    _require("whisper", model.whisper)
    if model.unet_config_path is not None and not (model.unet_config_file or Path()).is_file():
        raise WeightsError(
            f"model.unet_config_path is {model.unet_config_path}; there is no such file, and no such name in conf/unet"
        )


def _require(option: str, path: str | None, weight: str | None = None) -> None:
    """Refuses a missing file, or a missing weight of the catalogue where no file has its name."""
    if path is not None and Path(path).is_file():
        return
    if weight is not None:
        if not any(place.path.is_file() for place in weights.locations(weights.known(weight))):
            weights.locate(weight)  # raises, and says how to fetch it
    elif path is not None:
        raise WeightsError(f"model.{option} is {path}, and there is no such file; check the path")
