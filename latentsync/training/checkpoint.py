"""The state of a training on disk, whole or not at all. Knows no loop.

<folder>/step-00001000/  networks.safetensors  ema.safetensors  optimizer.pt  state.json
"""

import json
import re
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from latentsync.errors import WeightsError
from latentsync.files import remove_abandoned, whole_folder
from latentsync.weights.tensors import DAMAGE, read_state_dict

KEPT = 2  # checkpoints: should the last be damaged, the one before it serves
NETWORKS_FILE = "networks.safetensors"
EMA_FILE = "ema.safetensors"
OPTIMIZER_FILE = "optimizer.pt"
STATE_FILE = "state.json"


@dataclass
class State:
    """All that a training needs to go on, but for what follows from its seed and step (order of data, random numbers,
    learning rate).

    Attributes:
        networks, ema: tensors by name; ema None where there is no moving average.
        optimizer: its state dict, and that of the float16 gradient scaler where there is one.
        state: whole numbers and texts: step, position in the data, sums of the log line in the making, options.
    """

    networks: dict[str, Tensor]
    optimizer: dict
    state: dict
    ema: dict[str, Tensor] | None = field(default=None)


def save(folder: Path, state: State) -> Path:
    """Writes the state of a step; the folder appears by one rename, and then all but the last two go.

    Returns:
        The checkpoint's folder.
    """
    target = folder / f"step-{state.state['step']:08d}"
    if target.is_dir():  # a resumed run that stopped at once
        return target
    with whole_folder(target) as part:
        save_file(_on_cpu(state.networks), part / NETWORKS_FILE)
        if state.ema is not None:
            save_file(_on_cpu(state.ema), part / EMA_FILE)
        torch.save(state.optimizer, part / OPTIMIZER_FILE)
        (part / STATE_FILE).write_text(json.dumps(state.state, indent=2) + "\n")
    for old in checkpoints(folder)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # cloned, since safetensors refuses tensors that share their memory
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }


def remove_later(folder: Path, step: int) -> None:
    """Removes damaged checkpoints later than a step, and what a killed run was writing.

    Args:
        folder: that only this process writes to.
    """
    remove_abandoned(folder, is_locked=True)
    for path in checkpoints(folder):
        if step_of(path) > step:
            shutil.rmtree(path, ignore_errors=True)


def checkpoints(folder: Path) -> list[Path]:
    """The finished checkpoints, oldest first."""
    return sorted((path for path in folder.glob("step-*") if re.fullmatch(r"step-\d+", path.name)), key=step_of)


def step_of(path: Path) -> int:
    """The step of a checkpoint, by its name."""
    return int(path.name.removeprefix("step-"))


def load_last(folder: Path) -> State | None:
    """The newest readable checkpoint; None where there is none at all.

    A damaged one is passed over with a warning.

    Raises:
        WeightsError: there are checkpoints, and none is readable.
    """
    paths = checkpoints(folder)
    for path in reversed(paths):
        try:
            return _load(path)
        except WeightsError as error:
            warnings.warn(f"{error}; going back to the checkpoint before it", stacklevel=2)
    if paths:
        raise WeightsError(f"no checkpoint of {folder} is readable; delete the folder to train from the beginning")
    return None


def _load(path: Path) -> State:
    try:
        optimizer = torch.load(path / OPTIMIZER_FILE, map_location="cpu", weights_only=True)
        state = json.loads((path / STATE_FILE).read_text())
        state["step"], state["position"]
    except DAMAGE as error:
        raise WeightsError(f"{path} is damaged ({type(error).__name__})") from error
    ema = read_state_dict(path / EMA_FILE) if (path / EMA_FILE).is_file() else None
    return State(read_state_dict(path / NETWORKS_FILE), optimizer, state, ema)


def network_tensors(networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """The tensors of several networks under `network.tensor`."""
    return {f"{key}.{name}": value for key, net in networks.items() for name, value in net.state_dict().items()}


def load_networks(networks: Mapping[str, nn.Module], tensors: Mapping[str, Tensor], source: str) -> None:
    """Puts saved tensors into networks that stay trainable.

    Raises:
        WeightsError: they are of other networks.
    """
    expected = network_tensors(networks)
    wrong = expected.keys() ^ tensors.keys()
    wrong |= {name for name in expected.keys() & tensors.keys() if expected[name].shape != tensors[name].shape}
    if wrong:
        raise WeightsError(
            f"{source} holds other networks than these (at {', '.join(sorted(wrong)[:3])}); "
            f"train these in a folder of their own"
        )
    with torch.no_grad():
        for name, value in expected.items():
            value.copy_(tensors[name])
