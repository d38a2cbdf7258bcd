"""Where the networks run and in which precision: resolved once, then printed and recorded. Uses no network."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from latentsync.config import DTYPES
from latentsync.errors import MemoryShortageError, OptionError, is_memory_shortage

MIN_FLOAT16_CAPABILITY = 8  # the original uses float16 from compute capability 8 (Ampere) on
SMALL_NETWORK = 50_000_000  # parameters; up to this size several windows are denoised at once
WINDOWS_AT_ONCE = 8  # of a small network: 18 instead of 26 ms a window for the mini on 2 cores; more are no faster

# Values of oneDNN's ONEDNN_MAX_CPU_ISA without bfloat16. oneDNN then computes in float32 and converts: a convolution in
# bfloat16 took 2 to 100 times as long as in float32 (torch 2.14, Intel Xeon with AMX). https://uxlfoundation.github.io/oneDNN
WITHOUT_BFLOAT16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI")


def resolve_device(name: str | int | torch.device | None = None) -> torch.device:
    """The named device; a number is a GPU's. None gives the GPU if there is one, else the CPU.

    Raises:
        OptionError: the device does not exist here.
    """
    if name is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise OptionError(
            f"device {str(name)!r} is not available here ({str(error).splitlines()[0]}); use cpu"
        ) from error
    return device


def has_native(dtype: str | torch.dtype, device: torch.device) -> bool:
    """Whether the device computes in a precision itself. Where it does not, emulation takes many times as long."""
    wanted = named_dtype(dtype)
    if device.type == "cuda" and wanted == torch.bfloat16:
        return torch.cuda.get_device_capability(device)[0] >= MIN_FLOAT16_CAPABILITY
    if device.type != "cpu":
        return True
    return wanted == torch.float32 or (wanted == torch.bfloat16 and _cpu_has_native_bfloat16())


def _cpu_has_native_bfloat16() -> bool:
    """Whether the processor has bfloat16, and both torch's own kernels and oneDNN's may use it."""
    if torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2"):  # chosen by ATEN_CPU_CAPABILITY, or no better
        return False
    if os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in WITHOUT_BFLOAT16:
        return False
    try:
        capabilities = torch.cpu.get_capabilities()
    except (AttributeError, RuntimeError):  # before torch 2.11
        return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))


def resolve_dtype(name: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """The named precision. None gives a precision that the device runs well.

    That is float16 on GPUs of compute capability 8 and more, bfloat16 on processors with native bfloat16, else float32.

    Raises:
        OptionError: the precision is unknown, or it is float16 on a CPU.
    """
    if name is None:
        if device.type == "cuda" and torch.cuda.get_device_capability(device)[0] >= MIN_FLOAT16_CAPABILITY:
            return torch.float16
        return torch.bfloat16 if device.type == "cpu" and has_native(torch.bfloat16, device) else torch.float32
    dtype = named_dtype(name)
    if dtype == torch.float16 and device.type == "cpu":
        raise OptionError("dtype float16 does not run well on a CPU; use bfloat16 or float32")
    return dtype


def resolve_training_dtype(name: str | None, device: torch.device) -> torch.dtype:
    """The precision of a training's forward pass. None gives bfloat16 where the device computes in it itself.

    Else it gives float32: float16 needs a scaled loss, and bfloat16 by emulation takes 8 to 140 times as long
    (convolutions of 64 channels on a processor with AVX2, torch 2.14).

    Raises:
        OptionError: as `resolve_dtype`.
    """
    if name is not None:
        return resolve_dtype(name, device)
    return torch.bfloat16 if device.type != "mps" and has_native(torch.bfloat16, device) else torch.float32


def named_dtype(name: str | torch.dtype) -> torch.dtype:
    """ "bfloat16" or `torch.bfloat16` -> `torch.bfloat16`.

    Raises:
        OptionError: it is not in `config.DTYPES`.
    """
    word = dtype_name(name) if isinstance(name, torch.dtype) else name
    if word not in DTYPES:
        raise OptionError(f"dtype {word!r} is unknown; choose one of {', '.join(DTYPES)}")
    return getattr(torch, word)


def one_dtype(dtype: str | torch.dtype | None, torch_dtype: str | torch.dtype | None) -> str | torch.dtype | None:
    """The precision that is given under one of two names.

    Raises:
        OptionError: both are given, and differ.
    """
    if dtype is None or torch_dtype is None:
        return torch_dtype if dtype is None else dtype
    if named_dtype(dtype) != named_dtype(torch_dtype):
        raise OptionError(f"dtype is {dtype} and torch_dtype is {torch_dtype}; give one of them")
    return dtype


def dtype_name(dtype: torch.dtype) -> str:
    """`torch.bfloat16` -> "bfloat16"."""
    return str(dtype).removeprefix("torch.")


def precision_text(dtype: torch.dtype, device: torch.device, option: str, is_open: bool) -> str:
    """A precision in words, with who chose it, and what to do if the device only emulates it.

    Args:
        option: the name of the option that sets it, e.g. "runtime.dtype"; `is_open`: whether it is left open.
    """
    name = dtype_name(dtype)
    if not has_native(dtype, device):
        return f"{name}, which this processor only emulates: {option}=float32 is many times faster"
    return f"{name} (chosen for this machine)" if is_open else name


def resolve_batch_size(batch_size: int | None, num_parameters: int) -> int:
    """Windows denoised side by side: the given number, else several for a small network and one for a full-size one."""
    return batch_size or (WINDOWS_AT_ONCE if num_parameters <= SMALL_NETWORK else 1)


@contextmanager
def memory_shortage_explained(what: str) -> Iterator[None]:
    """Replaces an out-of-memory error by one sentence with a remedy.

    Raises:
        MemoryShortageError: in place of torch's and Python's own errors.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not is_memory_shortage(error):
            raise
        raise MemoryShortageError(
            f"the memory does not hold {what}; use fewer frames a window (sampler.num_frames), fewer windows at once "
            f"(runtime.batch_size=1), a lower resolution (video.width), or a model on tiny instead of small Whisper"
        ) from error
