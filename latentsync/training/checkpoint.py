"""The state of a training on disk, complete or not at all. Knows no loop.

<folder>/step-00001000/  networks.safetensors  ema.safetensors  optimizer.pt  state.json  files.json

files.json proves the others, see `latentsync.proof`. A training goes on from the newest checkpoint that agrees with it.
"""

import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from latentsync.errors import WeightsError
from latentsync.files import find_json, recover, remove, remove_abandoned, whole_folder, write_json
from latentsync.proof import disagreement, proof_in, proof_of
from latentsync.weights.tensors import DAMAGE, read_state_dict

KEPT = 2  # checkpoints; if the last does not agree with its proof, the one before it is used
NETWORKS_FILE = "networks.safetensors"
EMA_FILE = "ema.safetensors"
OPTIMIZER_FILE = "optimizer.pt"
STATE_FILE = "state.json"
PROOF_FILE = "files.json"


@dataclass
class State:
    """Everything that a training needs to continue.

    The order of the data, random numbers and the learning rate are not part of it: they follow from seed and step.

    Attributes:
        networks, ema: tensors by name; ema is None without a moving average.
        optimizer: its state dict, and that of the float16 gradient scaler, if there is one.
        state: numbers and texts: step, position in the data, sums for the next log line, options.
    """

    networks: dict[str, Tensor]
    optimizer: dict
    state: dict
    ema: dict[str, Tensor] | None = field(default=None)


def save(folder: Path, state: State) -> Path:
    """Writes the state of a step. The folder appears by one rename; then all checkpoints but the last two are removed.

    They are removed only after the new one has been read again and agrees with its proof.

    Returns:
        The checkpoint's folder.
    """
    target = folder / f"step-{state.state['step']:08d}"
    if target.is_dir():  # a resumed run that stopped immediately
        return target
    with whole_folder(target) as part:
        save_file(_on_cpu(state.networks), part / NETWORKS_FILE)
        if state.ema is not None:
            save_file(_on_cpu(state.ema), part / EMA_FILE)
        torch.save(state.optimizer, part / OPTIMIZER_FILE)
        (part / STATE_FILE).write_text(json.dumps(state.state, indent=2) + "\n")
        write_json(part / PROOF_FILE, {"files": proof_of(part.iterdir())})
    try:
        fault = fault_of(target)
    except OSError as error:
        fault = f"cannot be read again ({error.strerror})"
    if fault is not None:
        warnings.warn(f"{target} {fault}; the checkpoints before it are kept, check the disk", stacklevel=2)
        return target
    for old in checkpoints(folder)[:-KEPT]:
        remove(old)
    return target


def fault_of(path: Path) -> str | None:
    """What a checkpoint's files differ in from its proof, as the predicate of a sentence; None if all agree.

    Raises:
        OSError: a file exists but cannot be read.
    """
    files = proof_in(find_json(path / PROOF_FILE) or {})
    has_hashes = all("sha256" in facts for facts in files.values())
    if not has_hashes or not {NETWORKS_FILE, OPTIMIZER_FILE, STATE_FILE} <= files.keys():
        return f"is damaged ({PROOF_FILE} is no list of its files)"
    fault = disagreement(path, files, is_deep=True)
    return None if fault is None else f"is damaged ({fault})"


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # cloned, since safetensors refuses tensors that share memory
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }


def remove_later(folder: Path, step: int) -> None:
    """Removes checkpoints later than a step, which are damaged, and the unfinished one of a killed run.

    Args:
        folder: only this process may write to it.
    """
    remove_abandoned(folder, is_locked=True)
    for path in checkpoints(folder):
        if step_of(path) > step:
            remove(path)


def checkpoints(folder: Path) -> list[Path]:
    """The finished checkpoints, oldest first."""
    return sorted((path for path in folder.glob("step-*") if re.fullmatch(r"step-\d+", path.name)), key=step_of)


def step_of(path: Path) -> int:
    """The step of a checkpoint, by its name."""
    return int(path.name.removeprefix("step-"))


def load_last(folder: Path) -> State | None:
    """The newest checkpoint whose files are those that were written; None if there are no checkpoints.

    A damaged one is skipped with a warning. One that cannot be read for the moment is not.

    Raises:
        WeightsError: there are checkpoints, but all are damaged, or one cannot be read or loaded.
    """
    recover(folder)
    paths = checkpoints(folder)
    for path in reversed(paths):
        try:
            fault = fault_of(path)
        except OSError as error:
            raise WeightsError(
                f"{path} cannot be read ({error.strerror}), so it is not known whether it is whole; "
                f"check the disk and start again, or remove that folder to go on from the checkpoint before it"
            ) from error
        if fault is None:
            return _load(path)
        warnings.warn(f"{path} {fault}; going back to the checkpoint before it", stacklevel=2)
    if paths:
        raise WeightsError(f"every checkpoint of {folder} is damaged; delete the folder to train from the beginning")
    return None


def _load(path: Path) -> State:
    try:
        optimizer = torch.load(path / OPTIMIZER_FILE, map_location="cpu", weights_only=True)
        state = json.loads((path / STATE_FILE).read_text())
        state["step"], state["position"]
    except DAMAGE as error:
        raise WeightsError(
            f"{path} cannot be loaded ({type(error).__name__}: {error}), though its files are those that were written; "
            f"check memory and versions and start again, or remove that folder to go on from the checkpoint before it"
        ) from error
    ema = read_state_dict(path / EMA_FILE) if (path / EMA_FILE).is_file() else None
    return State(read_state_dict(path / NETWORKS_FILE), optimizer, state, ema)


def network_tensors(networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """The tensors of several networks, named `network.tensor`."""
    return {f"{key}.{name}": value for key, net in networks.items() for name, value in net.state_dict().items()}


def load_networks(networks: Mapping[str, nn.Module], tensors: Mapping[str, Tensor], source: str) -> None:
    """Loads saved tensors into networks, which stay trainable.

    Raises:
        WeightsError: the tensors belong to other networks.
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
