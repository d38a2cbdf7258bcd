"""The networks of a model, where they run, and the detector of faces. Knows no video and no sound."""

from functools import cached_property
from typing import Self

import torch
from diffusers import AutoencoderKL, DDIMScheduler

from latentsync.audio.features import Audio2Feature
from latentsync.audio.whisper_files import WHISPER_FILES
from latentsync.checkpoints.model import ModelSettings, cast
from latentsync.device import dtype_name, memory_shortage_explained, resolve_device, resolve_dtype
from latentsync.errors import OptionError, WeightsError
from latentsync.faces.landmarks import LandmarkDetector, MediaPipeLandmarks
from latentsync.unet.attention import set_backend
from latentsync.unet.model import UNet3DConditionModel
from latentsync.weights import state_dict_sha256
from latentsync.weights.tensors import Place

MULTILINGUAL = {name: file for name, file in WHISPER_FILES.items() if not name.endswith(".en")}


def resolve_place(device: str | None, dtype: str | None) -> Place:
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
        attention: the UNet's attention backend, see `config.RuntimeOptions`.
        has_own_detector: whether a detector was given.

    Raises:
        OptionError: the width of Whisper's states does not fit the UNet.
        WeightsError: the model was trained with the multilingual Whisper, and this one knows English only.
    """

    def __init__(
        self,
        vae: AutoencoderKL,
        unet: UNet3DConditionModel,
        scheduler: DDIMScheduler,
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
        self.vae, self.unet, self.scheduler, self.audio = vae, unet, scheduler, audio
        self.settings = settings
        self.attention = "sdpa"
        self.has_own_detector = detector is not None
        self._detector = detector

    def to(self, device: str | None = None, dtype: str | None = None, attention: str | None = None) -> Self:
        """Moves the networks, and returns the same object. Whisper stays in float32.

        Args:
            device, dtype: None takes what suits this machine.
            attention: None keeps the backend.

        Raises:
            OptionError: there is no such device, precision or backend here.
            MemoryShortageError: the device's memory does not hold the model.
        """
        place = resolve_place(device, dtype)
        with memory_shortage_explained(f"the model {self.settings.name} in {dtype_name(place.dtype)}"):
            for network in (self.vae, self.unet):
                cast(network, place.device, place.dtype)
            self.audio.whisper.to(place.device)
        self.__dict__.pop("weight_hashes", None)  # the hashes depend on the precision
        if attention is not None:
            set_backend(self.unet, attention, place.device)
            self.attention = attention
        return self

    @property
    def device(self) -> torch.device:
        """Where the networks run."""
        return self.unet.device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the UNet and the VAE."""
        return self.unet.dtype

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
