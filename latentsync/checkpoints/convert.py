"""Converts a checkpoint file to `.safetensors` without executing any code in it."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from latentsync.device import named_dtype
from latentsync.errors import OptionError, WeightsError
from latentsync.files import whole_file
from latentsync.weights import file_sha256, size_text
from latentsync.weights.tensors import StateDict, read_state_dict


@dataclass(frozen=True)
class Converted:
    """The written file, its number of tensors, and its size in bytes."""

    path: Path
    tensors: int
    size_bytes: int


def to_safetensors(
    source: str | Path, output: str | Path | None = None, dtype: str | None = None, overwrite: bool = False
) -> Converted:
    """Writes the tensors of a readable checkpoint as `.safetensors`, under the names that the file has.

    A wrapped state dict is unwrapped, and a `module.` prefix is removed. Names of LatentSync 1.0 stay, since the loader
    knows them. The metadata holds the source's name and SHA-256, and the dtype.

    Args:
        output: the file to write; beside the source by default.
        dtype: of floating-point tensors, one of `config.DTYPES`; by default as in the source. Integers stay integers.
        overwrite: whether to replace an existing output.

    Raises:
        OptionError: the dtype is unknown, or the output exists or does not end in `.safetensors`.
        WeightsError: the source is not a readable file of tensors, or the output cannot be written.
    """
    torch_dtype = None if dtype is None else named_dtype(dtype)
    source = Path(source)
    output = _output_path(source, output, overwrite)
    state_dict = independent(read_state_dict(source), torch_dtype)
    metadata = {
        "format": "pt",
        "source": source.name,
        "source_sha256": file_sha256(source),
        "dtype": dtype or "as in the source",
    }
    _write(state_dict, output, metadata)
    return Converted(output, len(state_dict), output.stat().st_size)


def _output_path(source: Path, target: str | Path | None, overwrite: bool) -> Path:
    output = source.with_suffix(".safetensors") if target is None else Path(target)
    if output.suffix != ".safetensors":
        raise OptionError(f"the output {output} must end in .safetensors")
    if output.resolve() == source.resolve():
        raise OptionError(f"{source} would overwrite itself; name another file with --output")
    if output.exists() and not overwrite:
        raise OptionError(f"{output} exists; give --force to replace it, or name another file with --output")
    return output


def independent(state_dict: StateDict, dtype: torch.dtype | None = None) -> StateDict:
    """The tensors as a safetensors file needs them: contiguous, each with its own memory. Floats are cast to `dtype`.

    Tensors that share memory (tied weights, views of one block) become copies, so every name keeps its numbers.
    """
    taken: set[int] = set()
    result = {}
    for name, tensor in state_dict.items():
        tensor = _packed(tensor.detach(), dtype)
        if tensor.untyped_storage().data_ptr() in taken:
            tensor = tensor.clone()
        taken.add(tensor.untyped_storage().data_ptr())
        result[name] = tensor
    return result


def _packed(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    if dtype is not None and tensor.is_floating_point():
        tensor = tensor.to(dtype)
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    return tensor.resolve_conj().resolve_neg().contiguous()  # the file stores the memory as it is


def _write(state_dict: StateDict, output: Path, metadata: dict[str, str]) -> None:
    """Writes a file that appears under its name only when it is complete."""
    size_bytes = sum(tensor.numel() * tensor.element_size() for tensor in state_dict.values())
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(output.parent).free) < size_bytes:
            raise WeightsError(
                f"{output} needs {size_text(size_bytes)} and {output.parent} has {size_text(free)} free; "
                f"free some, or name another folder with --output"
            )
        with whole_file(output) as part:
            save_file(state_dict, part, metadata=metadata)
    except (KeyError, NotImplementedError) as error:  # quantised, or without data
        raise WeightsError(
            f"{output} cannot hold these tensors ({error}); safetensors stores plain ones, so dequantise them first"
        ) from error
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{output} cannot be written ({error}); free space there or name another file") from error
