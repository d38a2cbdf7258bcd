"""How much memory a model takes, counted from shapes, without computing anything.

The UNet and the SD-VAE run on tensors that have shapes but no numbers. The tensors that exist at the same time are
added up.
"""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from latentsync.checkpoints.model import SD_VAE
from latentsync.config import SamplerOptions, VideoOptions
from latentsync.constants import LATENT_PX
from latentsync.generation.latents import frames_at_once
from latentsync.unet.model import UNet3DConditionModel

AUDIO_STATES = 50  # of a video frame, by Whisper tiny


@dataclass(frozen=True)
class Memory:
    """Bytes of the weights, and the most bytes that one call holds besides them."""

    weights: int
    unet_call: int
    vae_call: int

    @property
    def peak(self) -> int:
        """The bytes that UNet and VAE need together. They run one after the other, and their weights stay."""
        return self.weights + max(self.unet_call, self.vae_call)


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of tensors from their creation until they are freed."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[int] = set()
        self.now = self.peak = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        inputs = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if torch.is_tensor(leaf)}
        for leaf in tree_leaves(result):
            if torch.is_tensor(leaf) and leaf.untyped_storage()._cdata not in inputs | self._seen:
                self._count(leaf.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        self._seen.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._freed, key, size)

    def _freed(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size


def peak_bytes(call: Callable[[], object]) -> int:
    """The most bytes that a call holds at once in its own tensors; these may be fake tensors."""
    with torch.no_grad(), _LiveBytes() as live:
        call()
    return live.peak


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def published_memory(config: dict, size_px: int, num_frames: int, dtype: torch.dtype, guided: bool = True) -> Memory:
    """The memory that a UNet and the SD-VAE need for one window.

    Args:
        config: the `model:` part of a published configuration.
        size_px: side of the aligned crop, a multiple of 8.
        num_frames: of the window.
        dtype: of weights and activations.
        guided: whether the UNet runs on the window twice, with and without audio.

    Raises:
        OptionError: size_px or num_frames is out of range.
    """
    VideoOptions(width=size_px), SamplerOptions(num_frames=num_frames)  # they check their values
    batch, side, at_once = 1 + guided, size_px // LATENT_PX, min(num_frames, frames_at_once(size_px))
    with FakeTensorMode(), _default_dtype(dtype):
        unet, vae = UNet3DConditionModel.from_config(config), AutoencoderKL.from_config(SD_VAE)
        sample = torch.zeros(batch, unet.config.in_channels, num_frames, side, side)
        audio = torch.zeros(batch, num_frames, AUDIO_STATES, unet.config.cross_attention_dim)
        pixels, latents = (torch.zeros(at_once, *shape) for shape in ((3, size_px, size_px), (4, side, side)))
        weights = sum(p.nbytes for network in (unet, vae) for p in network.state_dict().values())
        return Memory(
            weights,
            peak_bytes(lambda: unet(sample, 0, audio)),
            max(peak_bytes(lambda: vae.encode(pixels)), peak_bytes(lambda: vae.decode(latents))),
        )
