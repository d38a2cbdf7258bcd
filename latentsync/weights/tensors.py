"""A file <-> named tensors, and named tensors -> a network. Knows no particular network.

Unpickling never executes code. Nothing is loaded in part: missing, unexpected and wrongly shaped tensors are errors
that name them.
"""

import pickle
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from latentsync.errors import WeightsError

StateDict = dict[str, Tensor]
Network = TypeVar("Network", bound=torch.nn.Module)

NAMES_IN_MESSAGE = 5
REASON_LENGTH = 200
WRAPPERS = ("state_dict", "model_state_dict")

# First bytes of files that are not what their name says, and what to do
IMPOSTORS = (
    (b"version https://git-lfs", "a pointer of Git LFS and not the file itself; run `git lfs pull`"),
    (b"<", "a web page; download the file itself"),
)
# Errors of torch's reader on damaged files, zipped and older ones
DAMAGE = (
    AssertionError, AttributeError, EOFError, IndexError, KeyError, MemoryError, OSError, OverflowError, RuntimeError,
    SafetensorError, TypeError, ValueError, pickle.UnpicklingError, struct.error,
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """The device and the precision for the tensors of a file."""

    device: torch.device | str = "cpu"
    dtype: torch.dtype = torch.float32

    def put(self, tensor: Tensor) -> Tensor:
        """The tensor in this place; whole numbers keep their type."""
        return tensor.to(self.device, self.dtype if tensor.is_floating_point() else tensor.dtype)


def read_state_dict(path: str | Path) -> StateDict:
    """The tensors of a `.safetensors`, `.pt`, `.pth` or `.bin` file, memory-mapped if the format allows it.

    A state dict inside `state_dict` or `model_state_dict` is unwrapped, and a `module.` prefix is removed.

    Raises:
        WeightsError: there is no such file, or it is not a file of tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"there is no weight file at {path}; check the path")
    try:
        with open(path, "rb") as file:
            beginning = file.read(64)
        is_safetensors = path.suffix == ".safetensors" or beginning[8:9] == b"{"
        content = load_file(path) if is_safetensors else _torch_load(path)
    except DAMAGE as error:
        raise WeightsError(f"{path} is {_fault(beginning, error)}") from error
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and wrapper in content:
            content = content[wrapper]
    if not _is_state_dict(content):
        raise WeightsError(f"{path} holds no state dict; a dictionary of named tensors is needed")
    return renamed(content, lambda name: name.removeprefix("module."), str(path))


def _is_state_dict(content: object) -> bool:
    if not isinstance(content, dict) or not content:
        return False
    return all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items())


def _torch_load(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError as error:
        if "mmap" not in str(error):
            raise
        return torch.load(path, map_location="cpu", weights_only=True)  # files from before torch 1.6


def _fault(beginning: bytes, error: Exception) -> str:
    """What is wrong with an unreadable file, and the remedy. Not torch's own message: it advises to run its code."""
    for signature, what in IMPOSTORS:
        if beginning.startswith(signature):
            return what
    if match := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return (
            f"refused: it holds {match[1]} beside tensors, and reading that would execute code; "
            f"get the file from its publisher"
        )
    reason = str(error).strip().partition("\n")[0][:REASON_LENGTH]
    if not reason or "weights_only" in str(error):
        reason = type(error).__name__
    return f"not a readable file of tensors ({reason}); it is damaged, cut short or something else: fetch it again"


def renamed(state_dict: dict, rename: Callable[[str], str], source: str) -> dict:
    """The tensors under other names.

    Raises:
        WeightsError: two of them would get the same name.
    """
    result, before = {}, {}
    for name, tensor in state_dict.items():
        new = rename(name)
        if new in result:
            raise WeightsError(f"{source} holds {new} twice, as {before[new]} and as {name}; take one of them out")
        result[new], before[new] = tensor, name
    return result


def load_built(make: Callable[[], Network], path: str | Path, place: Place | None = None) -> Network:
    """A network with the tensors of a file, ready for inference; its random start is never computed.

    Args:
        make: builds the network; called on the meta device.
        place: see `load_exactly`.

    Raises:
        WeightsError: the file is absent or damaged, or holds another network.
    """
    with torch.device("meta"):
        network = make()
    return load_exactly(network, read_state_dict(path), str(path), place)


def load_exactly(
    model: torch.nn.Module, state_dict: StateDict, source: str, place: Place | None = None
) -> torch.nn.Module:
    """Loads every tensor; refuses the whole file if one is missing, left over or has another shape.

    Each tensor goes from the mapped file straight to its device and precision, one after the other. So there is never a
    second copy of the model.

    Args:
        model: on the meta device, or with values that are replaced.
        source: the file, for messages.
        place: device and precision of the tensors; float32 on the CPU by default.

    Returns:
        The model, ready for inference.

    Raises:
        WeightsError: some tensors do not fit; the message names them.
    """
    expected = model.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in expected.items()}
    problems = [
        _listing("missing", sorted(shapes.keys() - state_dict.keys())),
        _listing("unexpected", sorted(state_dict.keys() - shapes.keys())),
        _listing(
            "of another shape",
            [
                f"{name} {tuple(state_dict[name].shape)} instead of {shape}"
                for name, shape in shapes.items()
                if name in state_dict and tuple(state_dict[name].shape) != shape
            ],
        ),
    ]
    problems = [problem for problem in problems if problem]
    if problems:
        raise WeightsError(f"{source} does not fit the network: {'; '.join(problems)}")
    place = place or Place()
    placed = {name: place.put(tensor) for name, tensor in state_dict.items()}
    torch.nn.Module.load_state_dict(model, placed, strict=True, assign=True)
    return model.eval().requires_grad_(False)


def _listing(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - NAMES_IN_MESSAGE} more" if len(names) > NAMES_IN_MESSAGE else ""
    return f"{len(names)} {what} ({', '.join(names[:NAMES_IN_MESSAGE])}{more})"
