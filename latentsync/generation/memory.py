"""How much memory a model takes, counted from shapes, without computing anything; and portions that fit a memory.

The UNet and the SD-VAE run on tensors that have shapes but no numbers. The tensors that exist at the same time are
added up.
"""

import json
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from latentsync.checkpoints.model import SD_VAE
from latentsync.config import Options, SamplerOptions, VideoOptions
from latentsync.constants import LATENT_PX
from latentsync.device import SMALL_NETWORK
from latentsync.errors import OptionError
from latentsync.generation.guidance import is_guided
from latentsync.generation.latents import frames_at_once, latent_shape
from latentsync.generation.networks import LipsyncNetworks
from latentsync.generation.portions import Portions, Sizes
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


@dataclass(frozen=True)
class Needs:
    """Bytes of the weights, and of one call besides them: of the UNet for a window, of the VAE for a frame.

    Calls of several windows or frames need as many times more.

    Attributes:
        both: of the UNet with and without audio at once.
        branch: of the UNet with audio or without it.
    """

    weights: int
    both: int
    branch: int
    frame: int

    @property
    def least(self) -> int:
        """The bytes that the smallest portions need."""
        return self.weights + max(self.branch, self.frame)

    def sizes(self, limit: int, windows: int, frames: int) -> Sizes:
        """The largest portions that a memory holds, the smallest ones where it holds none.

        Args:
            limit: in bytes, with the weights.
            windows: of a batch.
            frames: that the VAE takes at a time where memory is plenty.
        """
        room = limit - self.weights
        windows_that_fit, frames_that_fit = room // self.both, room // self.frame
        return Sizes(
            windows=None if windows_that_fit >= windows else max(1, windows_that_fit),
            by_branch=windows_that_fit < 1,
            frames=None if frames_that_fit >= frames else max(1, frames_that_fit),
        )


def fit(networks: LipsyncNetworks, settings: Sequence[Options]) -> None:
    """Chooses the networks' portions for settings that are generated together, so that a run fits the memory.

    A small network with `memory=auto` takes the usual portions: counting takes seconds. Portions that were reduced
    while the networks ran stay so for runs of the same sizes.

    Args:
        settings: resolved.

    Raises:
        OptionError: `memory` is less than the smallest portions need.
    """
    sampler, runtime, size_px = settings[0].sampler, settings[0].runtime, settings[0].video.size_px
    windows = max(1, runtime.batch_size // len(settings)) * len(settings)
    guided = networks.unet.guidance_limit is None and any(is_guided(one.sampler.guidance_scale) for one in settings)
    purpose = (runtime.memory, windows, guided, sampler.num_frames, size_px, networks.device, networks.dtype)
    if networks.portions.purpose == purpose:
        return
    networks.portions = Portions(None, purpose)
    limit, is_auto = runtime.memory_bytes, runtime.memory_bytes is None
    if is_auto and networks.num_parameters <= SMALL_NETWORK:
        return
    needs = needs_of(networks, sampler.num_frames, size_px, guided)
    if is_auto and (free := free_bytes(networks.device)) is not None:
        limit = needs.weights + free
    if limit is None:
        return
    if limit < needs.least and not is_auto:
        raise OptionError(
            f"memory is {runtime.memory} GB, but {networks.settings.name} needs at least {_up(needs.least)} GB "
            f"({needs.weights / 1e9:.3g} GB of weights) for a window of {sampler.num_frames} frames of {size_px} px in "
            f"{runtime.dtype}; give as much, or use shorter windows (sampler.num_frames) or smaller crops (video.width)"
        )
    networks.portions = Portions(needs.sizes(limit, windows, frames_at_once(size_px)), purpose)


def _up(size: int) -> str:
    """Bytes as GB, rounded up to hundredths, so that the number suffices."""
    return f"{-(-size // 10**7) / 100:g}"


def needs_of(networks: LipsyncNetworks, num_frames: int, size_px: int, guided: bool) -> Needs:
    """The memory that networks need, counted as `published_memory` counts it."""
    unet, vae = networks.unet, networks.vae
    of_each = (unet, vae, networks.audio.whisper)
    weights = sum(value.nbytes for network in of_each for value in network.state_dict().values())
    configs = (json.dumps(dict(network.config), default=str, sort_keys=True) for network in (unet, vae))
    latents = latent_shape(vae, size_px)
    return Needs(weights, *_calls(*configs, num_frames, size_px, latents, networks.dtype, 1 + guided))


@lru_cache
def _calls(
    unet_config: str, vae_config: str, num_frames: int, size_px: int, latents: tuple, dtype: torch.dtype, branches: int
) -> tuple[int, int, int]:
    with FakeTensorMode(), _default_dtype(dtype):
        unet = UNet3DConditionModel.from_config(json.loads(unet_config))
        vae = AutoencoderKL.from_config(json.loads(vae_config))
        sample = torch.zeros(1, unet.config.in_channels, num_frames, *latents[1:])
        audio = torch.zeros(1, num_frames, AUDIO_STATES, unet.config.cross_attention_dim)
        pixels, of_frame = torch.zeros(1, 3, size_px, size_px), torch.zeros(1, *latents)
        branch = peak_bytes(lambda: unet(sample, 0, audio))
        frame = max(peak_bytes(lambda: vae.encode(pixels)), peak_bytes(lambda: vae.decode(of_frame)))
    return branches * branch, branch, frame


def free_bytes(device: torch.device) -> int | None:
    """The memory that is free on a device now; None where the system does not say."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    if device.type != "cpu":
        return None
    found = [value for value in (_free_of_machine(), _free_of_control_group()) if value is not None]
    return min(found, default=None)


def _free_of_machine() -> int | None:
    """What Linux holds for available."""
    values = _numbers(Path("/proc/meminfo"))
    return values["MemAvailable:"] * 1024 if "MemAvailable:" in values else None


def _free_of_control_group(folder: Path = Path("/sys/fs/cgroup")) -> int | None:
    """What the limit of the control group leaves. The cache of files counts as free."""
    try:
        limit, used = ((folder / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return None
    cache = _numbers(folder / "memory.stat").get("inactive_file", 0)
    return int(limit) - int(used) + cache if limit.isdecimal() else None


def _numbers(path: Path) -> dict[str, int]:
    """A file of lines with a name and a number."""
    try:
        rows = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdecimal()}
