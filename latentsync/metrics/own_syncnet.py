"""A model's own SyncNet from the model's folder: syncnet/config.json and, after training, its weights."""

import json
from pathlib import Path

from latentsync.checkpoints.model import CONFIG_FILE, WEIGHTS_FILE, part_folder
from latentsync.errors import OptionError, WeightsError
from latentsync.metrics.stable_syncnet import StableSyncNet
from latentsync.weights.tensors import load_exactly, read_state_dict

SYNCNET_FOLDER = "syncnet"  # of a model


class UntrainedError(OptionError):
    """A model has no trained SyncNet."""


def has_trained_syncnet(model: str | Path) -> bool:
    """Whether a model, by name or folder, has weights of a SyncNet."""
    return _weights(model).is_file()


def load_trained_syncnet(model: str | Path) -> StableSyncNet:
    """The trained SyncNet of a model, by name or folder, ready for use.

    Raises:
        UntrainedError: it has none.
        WeightsError: its weights do not fit.
    """
    if not has_trained_syncnet(model):
        raise UntrainedError(
            f"the model {model} has no trained SyncNet ({_weights(model)} is absent); train one with "
            f"`latentsync train train=syncnet` and assemble it with the model"
        )
    return load_own_syncnet(model)[0].eval()


def load_own_syncnet(model: str | Path) -> tuple[StableSyncNet, dict]:
    """The SyncNet of a model, by name or folder, and its configuration; see `read_syncnet`."""
    return read_syncnet(part_folder(model, SYNCNET_FOLDER))


def read_syncnet(folder: Path) -> tuple[StableSyncNet, dict]:
    """A SyncNet and its configuration, as exported by a training; with random weights if the folder has none.

    Raises:
        WeightsError: there is no configuration, or the weights do not fit.
    """
    try:
        config = json.loads((folder / CONFIG_FILE).read_text())
    except (OSError, ValueError) as error:
        raise WeightsError(f"{folder / CONFIG_FILE} cannot be read ({error}); the model has no SyncNet") from error
    network, weights = StableSyncNet(config), folder / WEIGHTS_FILE
    if weights.is_file():
        load_exactly(network, read_state_dict(weights), str(weights))
    return network, config


def _weights(model: str | Path) -> Path:
    return part_folder(model, SYNCNET_FOLDER) / WEIGHTS_FILE
