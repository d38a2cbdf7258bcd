"""The networks of a model: loaded, saved, moved; and the detector of faces. Knows no video and no sound."""

from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import AutoencoderKL, SchedulerMixin
from diffusers.configuration_utils import FrozenDict

from latentsync.audio.features import Audio2Feature
from latentsync.audio.whisper_files import WHISPER_FILES
from latentsync.checkpoints import model as model_files
from latentsync.checkpoints.model import ModelSettings, cast
from latentsync.config import DTYPES
from latentsync.device import dtype_name, memory_shortage_explained, one_dtype, resolve_device, resolve_dtype
from latentsync.errors import OptionError, WeightsError
from latentsync.faces.landmarks import LandmarkDetector, MediaPipeLandmarks
from latentsync.generation.latents import Posterior, posterior
from latentsync.generation.portions import Portions
from latentsync.generation.solvers import require_usable
from latentsync.shapes import Pixels
from latentsync.unet.attention import backend_of, check_backend, set_backend
from latentsync.unet.model import UNet3DConditionModel
from latentsync.unet.savings import Savings, keep_freed_memory, set_savings
from latentsync.weights import state_dict_sha256
from latentsync.weights.tensors import Place

MULTILINGUAL = {name: file for name, file in WHISPER_FILES.items() if not name.endswith(".en")}


def resolve_place(device: str | int | torch.device | None = None, dtype: str | torch.dtype | None = None) -> Place:
    """The named device and precision; None takes what suits this machine.

    Raises:
        OptionError: there is no such device or precision here.
    """
    chosen = resolve_device(device)
    return Place(chosen, resolve_dtype(dtype, chosen))


class LipsyncNetworks:
    """The networks of a model, on one device and in one precision.

    Args:
        vae, unet, scheduler, audio: the networks; they must fit each other.
        settings: the model's own crop size, window length and mask, and whether it has been trained.
        detector: finds the landmarks of faces; by default MediaPipe's 468 points, refined in each frame.

    Attributes:
        has_own_detector: whether a detector was given.
        savings: what the networks save against the original's algorithm.
        portions: how much they compute at a time; see `memory.fit`.

    Raises:
        OptionError: the width of Whisper's states does not fit the UNet, or the scheduler cannot be used.
        WeightsError: the model was trained with the multilingual Whisper, and this one knows English only.
    """

    def __init__(
        self,
        vae: AutoencoderKL,
        unet: UNet3DConditionModel,
        scheduler: SchedulerMixin,
        audio: Audio2Feature,
        settings: ModelSettings,
        detector: LandmarkDetector | None = None,
    ) -> None:
        if audio.whisper.width != unet.config.cross_attention_dim:
            raise OptionError(
                f"Whisper's states are {audio.whisper.width} wide, but the UNet takes "
                f"{unet.config.cross_attention_dim}; load the Whisper that fits"
            )
        if audio.whisper.english_only and settings.whisper in MULTILINGUAL:
            raise WeightsError(
                f"{settings.name} was trained with the multilingual Whisper {settings.whisper}, but this one knows "
                f"English only (same shape, other numbers); use {MULTILINGUAL[settings.whisper]}"
            )
        require_usable(scheduler, None)
        self.vae, self.unet, self.audio = vae, unet, audio
        self.savings = Savings()
        self.portions = Portions()
        self._scheduler = scheduler
        self.settings = settings
        self.has_own_detector = detector is not None
        self._detector = detector

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path = "mini",
        device: str | int | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        attention: str = "sdpa",
        *,
        torch_dtype: str | torch.dtype | None = None,
        variant: str | None = None,
        use_safetensors: bool | None = None,
        **components: Any,
    ) -> Self:
        """Loads a model from this machine: the embedded one, a published one, or a folder in the diffusers layout.

        Args:
            name_or_path: "mini", a published LatentSync such as "latentsync-1.6", or a folder of `save_pretrained`.
            device, dtype: None takes what suits this machine.
            attention: the attention backend, see `config.RuntimeOptions`.
            torch_dtype: the name that diffusers has for `dtype`.
            variant: of the weight files: "fp16" reads `diffusion_pytorch_model.fp16.safetensors`.
            use_safetensors: as in diffusers; False is refused, since a model folder has no other files.
            components: parts to use in place of the model's own: `scheduler=`, `vae=`, `unet=`, `audio=`.

        Raises:
            WeightsError: no such model is on this machine, or its weights are missing or do not fit.
            OptionError: there is no such device, precision, attention backend or component.
        """
        if use_safetensors is False:
            raise OptionError("use_safetensors is False, but a model folder has safetensors only; leave it out")
        place = resolve_place(device, one_dtype(dtype, torch_dtype))
        parts = model_files.load_model(name_or_path, place, variant, **components)
        return cls(**parts).to(place.device, place.dtype, attention=attention)

    @classmethod
    def from_checkpoint(
        cls,
        inference_ckpt_path: str | Path,
        unet_config_path: str | Path | None = None,
        device: str | int | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        attention: str = "sdpa",
        vae: str | Path | None = None,
        whisper: str | Path | None = None,
        *,
        torch_dtype: str | torch.dtype | None = None,
    ) -> Self:
        """Loads a published LatentSync UNet with the VAE and the Whisper it was trained with; see `load_published`.

        Raises:
            WeightsError: the checkpoint does not fit the configuration, or the VAE or Whisper is not on this machine.
            OptionError: there is no such device, precision or attention backend here.
        """
        place = resolve_place(device, one_dtype(dtype, torch_dtype))
        parts = model_files.load_published(inference_ckpt_path, unet_config_path, vae, whisper, place)
        return cls(**parts).to(place.device, place.dtype, attention=attention)

    def save_pretrained(self, folder: str | Path, variant: str | None = None) -> None:
        """Writes the model in the diffusers layout; `from_pretrained` gives the same numbers back."""
        model_files.save_folder(folder, self.vae, self.unet, self.scheduler, self.audio, self.settings, variant)

    def to(
        self,
        *places: str | int | torch.device | torch.dtype,
        device: str | int | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        attention: str | None = None,
    ) -> Self:
        """Moves the networks, and returns the same object. What is not given stays. Whisper stays in float32.

        Args:
            places: a device, a precision or both, as in torch: `to("cuda")`, `to(torch.float16)`,
                `to("cuda", "float16")`.
            device, dtype, attention: the same by name.

        Raises:
            OptionError: there is no such device, precision or backend here, or one is given twice. Nothing was moved.
            MemoryShortageError: the device's memory does not hold the model.
        """
        for place in places:
            is_precision = isinstance(place, torch.dtype) or place in DTYPES
            if (dtype if is_precision else device) is not None:
                raise OptionError(f"to() got {'a precision' if is_precision else 'a device'} twice; give one of them")
            device, dtype = (device, place) if is_precision else (place, dtype)
        target = resolve_place(self.device if device is None else device, self.dtype if dtype is None else dtype)
        check_backend(attention or self.attention, target.device)
        with memory_shortage_explained(f"the model {self.settings.name} in {dtype_name(target.dtype)}"):
            for network in (self.vae, self.unet):
                cast(network, target.device, target.dtype)
            self.audio.whisper.to(target.device)
        self.__dict__.pop("weight_hashes", None)  # the hashes depend on the precision
        if attention is not None:
            set_backend(self.unet, attention, target.device)
        self.use(self.savings)
        return self

    def use(self, savings: Savings) -> None:
        """Chooses what the networks save against the original's algorithm; by default everything."""
        self.savings = savings
        set_savings(self.unet, savings)
        on_cpu = self.device.type == "cpu"
        last = savings.channels_last and on_cpu
        self.vae.to(memory_format=torch.channels_last if last else torch.contiguous_format)
        if on_cpu:
            keep_freed_memory(savings.memory_kept)

    def posteriors(self, masked: Pixels, reference: Pixels) -> tuple[Posterior, Posterior]:
        """The VAE's posteriors of masked and of reference images, (f, 3, r, r) in -1..1 each."""
        if self.savings.crops_together:
            return posterior(self.vae, torch.cat([masked, reference]), self.portions).halves()
        return posterior(self.vae, masked, self.portions), posterior(self.vae, reference, self.portions)

    def enable_xformers_memory_efficient_attention(self) -> None:
        """The same as `to(attention="xformers")`, under the name that diffusers has for it."""
        self.to(attention="xformers")

    def disable_xformers_memory_efficient_attention(self) -> None:
        """The same as `to(attention="sdpa")`, under the name that diffusers has for it."""
        self.to(attention="sdpa")

    @property
    def components(self) -> dict[str, Any]:
        """All parts, as arguments: `LipsyncPipeline(**pipe.components)` is another pipeline with the same networks."""
        return {
            "vae": self.vae,
            "unet": self.unet,
            "scheduler": self.scheduler,
            "audio": self.audio,
            "settings": self.settings,
            "detector": self._detector if self.has_own_detector else None,
        }

    @property
    def config(self) -> FrozenDict:
        """The model's settings, see `ModelSettings`; each is a key and an attribute."""
        return FrozenDict(asdict(self.settings))

    @property
    def scheduler(self) -> SchedulerMixin:
        """The noise that the model was trained with, and the solver of calls that name none.

        Another scheduler of diffusers may be assigned: `pipe.scheduler = UniPCMultistepScheduler.from_config(
        pipe.scheduler.config)`. See `solvers.require_usable` for those that are refused.
        """
        return self._scheduler

    @scheduler.setter
    def scheduler(self, scheduler: SchedulerMixin) -> None:
        require_usable(scheduler, self._scheduler)
        self._scheduler = scheduler

    @property
    def attention(self) -> str:
        """The UNet's attention backend, see `config.RuntimeOptions`."""
        return backend_of(self.unet)

    @property
    def device(self) -> torch.device:
        """Where the networks run."""
        return self._parameter.device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the UNet and the VAE."""
        return self._parameter.dtype

    @property
    def _parameter(self) -> torch.Tensor:
        """One of the UNet's. `unet.device` and `unet.dtype` look at all of its modules, each time."""
        return next(self.unet.parameters())

    @cached_property
    def num_parameters(self) -> int:
        """How many numbers the UNet has learned."""
        return self.unet.num_parameters()

    @property
    def detector(self) -> LandmarkDetector:
        """Finds the landmarks of faces; MediaPipe's is loaded when it is first needed."""
        if self._detector is None:
            self._detector = MediaPipeLandmarks()
        return self._detector

    @cached_property
    def weight_hashes(self) -> dict[str, str]:
        """The SHA-256 of each network's tensors in the precision in use; part of a record's identity."""
        networks = {"unet": self.unet, "vae": self.vae, "whisper": self.audio.whisper}
        return {name: state_dict_sha256(network.state_dict()) for name, network in networks.items()}
