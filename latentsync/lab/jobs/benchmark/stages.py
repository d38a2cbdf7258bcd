"""What a benchmark times: the networks' calls on one window, the whole window, and the whole pipeline."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor

from latentsync.config import Options
from latentsync.device import resolve_batch_size
from latentsync.faces.masks import mask_to_latents, mouth_mask
from latentsync.generation.denoise import Condition, denoise
from latentsync.generation.latents import decode, latent_shape, sample, scaled
from latentsync.generation.memory import AUDIO_STATES
from latentsync.generation.networks import LipsyncNetworks
from latentsync.lab.jobs.benchmark.options import BenchmarkOptions
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.media.excerpt import excerpt_voice
from latentsync.pipeline import LipsyncPipeline
from latentsync.unet.audio import AudioStates

CLIP = "g-clara"  # the shipped clip of the pipeline, and its voice
VOICE_START_S = 0.5
TIMESTEP = 500
GUIDANCE = 1.5
SMALLEST = 8  # side of latents that are enough to bring weights into their layout


@dataclass(frozen=True)
class Sizes:
    """What is denoised together: the number of windows, their frames, and the side of their crops."""

    windows: int
    num_frames: int
    size_px: int

    @classmethod
    def of(cls, networks: LipsyncNetworks, options: BenchmarkOptions) -> "Sizes":
        """The given sizes, else the model's own."""
        windows = resolve_batch_size(options.windows, networks.num_parameters)
        settings = networks.settings
        return cls(windows, options.num_frames or settings.num_frames, options.size_px or settings.size_px)


class WindowStages:
    """The calls on one window of random numbers, the same in every variant up to rounding.

    Args:
        networks: in the precision, and with the savings, of a variant.
    """

    def __init__(self, networks: LipsyncNetworks, sizes: Sizes, options: BenchmarkOptions) -> None:
        self._networks, self._guidance, self._steps = networks, GUIDANCE if options.guidance else 1.0, options.steps
        generator = torch.Generator().manual_seed(options.seed)
        shape, frames = latent_shape(networks.vae, sizes.size_px), sizes.num_frames
        place = {"device": networks.device, "dtype": networks.dtype}

        def random(*size: int) -> Tensor:
            return torch.randn(size, generator=generator).to(**place)

        windows, side = sizes.windows, sizes.size_px
        self.noise = random(windows, shape[0], frames, *shape[1:])
        self._audio = random(windows, frames, AUDIO_STATES, networks.unet.config.cross_attention_dim)
        self._masked, self._reference = (random(windows * frames, 3, side, side).clamp(-1, 1) for _ in range(2))
        mask = mask_to_latents(mouth_mask(networks.settings.mask, side)).to(**place)
        self._mask = mask[None, :, None].expand(windows, -1, frames, -1, -1)
        self._states = AudioStates(self._audio.flatten(0, 1), options.guidance, networks.savings.audio_once)
        channels = torch.cat([self.noise, self._mask, random(windows, 2 * shape[0], frames, *shape[1:])], dim=1)
        self._sample = channels.repeat(1 + options.guidance, 1, 1, 1, 1)

    def calls(self) -> dict[str, Callable[[], Tensor]]:
        """By stage; each returns what the network makes, to be compared between variants."""
        return {
            "unet": self.unet,
            "vae_encode": self.vae_encode,
            "vae_decode": self.vae_decode,
            "window": self.window,
        }

    def unet(self) -> Tensor:
        """One step's call, with the audio's keys and values of an earlier one where that saving is on."""
        return self._networks.unet(self._sample, TIMESTEP, self._states).sample

    def vae_encode(self) -> Tensor:
        """Masked and reference images."""
        return torch.cat([one.mean for one in self._networks.posteriors(self._masked, self._reference)])

    def vae_decode(self) -> Tensor:
        """The windows' latents."""
        vae = self._networks.vae
        return decode(vae, scaled(vae, _frames(self.noise)))

    def window(self) -> Tensor:
        """From crops to faces: encode, all steps, decode."""
        vae = self._networks.vae
        of_each = self._networks.posteriors(self._masked, self._reference)
        latents = (sample(vae, of, torch.zeros_like(of.mean)) for of in of_each)
        masked, reference = (rearrange(one, "(b f) c h w -> b c f h w", b=len(self.noise)) for one in latents)
        condition = Condition(self._mask, masked, reference, self._audio)
        unet, scheduler = self._networks.unet, self._networks.scheduler
        denoised = denoise(unet, scheduler, self.noise, condition, self._guidance, self._steps)
        return decode(vae, _frames(denoised))

    @torch.no_grad()
    def settle(self) -> None:
        """Makes what lasts longer than one call: weights in the layout of the savings, keys and values of the audio."""
        small = self._sample[:, :, :, :SMALLEST, :SMALLEST]
        self._networks.unet(small, TIMESTEP, self._states)


def _frames(latents: Tensor) -> Tensor:
    return rearrange(latents, "b c f h w -> (b f) c h w")


def run_pipeline(
    pipeline: LipsyncPipeline, sizes: Sizes, options: BenchmarkOptions, folder: Path
) -> tuple[int, dict[str, float]]:
    """The whole pipeline on a shipped clip.

    Args:
        folder: a temporary one.

    Returns:
        The number of frames made, and the seconds of each stage. Stages may run side by side; "total" is the whole.
    """
    voice = folder / "voice.wav"
    if not voice.exists():
        excerpt_voice(SHIPPED_DIR / f"{CLIP}.wav", voice, VOICE_START_S, options.voice_s)
    parts = pipeline.components | {"detector": pipeline.detector}
    fresh = LipsyncPipeline(**parts)  # keeps no faces of earlier runs
    fresh.use(pipeline.savings)
    chosen = Options.of(
        guidance_scale=GUIDANCE if options.guidance else 1.0,
        num_inference_steps=options.steps,
        seed=options.seed,
        num_frames=sizes.num_frames,
        batch_size=sizes.windows,
        width=sizes.size_px,
        durable=False,
    )
    output = fresh.run(SHIPPED_DIR / f"{CLIP}.mp4", voice, folder / "result.mp4", None, chosen)
    return output.num_frames, output.timings
