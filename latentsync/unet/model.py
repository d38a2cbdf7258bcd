"""The audio-conditioned 3-D UNet of LatentSync, in every published shape. Knows no files.

Source: arXiv 2412.09262 and the published configurations (1.0 without motion modules, 1.5 and 1.6 with them).
"""

from dataclasses import dataclass

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils import BaseOutput
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import silu

from latentsync.errors import OptionError
from latentsync.option import is_whole
from latentsync.unet.audio import AudioStates
from latentsync.unet.blocks import MOTION_NORM_GROUPS, DownBlock, FrameConv, MidBlock, UpBlock
from latentsync.unet.savings import Saving, lay_out_plainly

DOWN_BLOCK_TYPES = ("CrossAttnDownBlock3D", "DownBlock3D")
UP_BLOCK_TYPES = ("CrossAttnUpBlock3D", "UpBlock3D")
GUIDANCE_UNIT = 100.0  # the sinusoids of guidance see 1 more guidance as 100 timesteps

MOTION_MODULE_KWARGS = {
    "num_attention_heads": 8,
    "num_transformer_block": 1,
    "attention_block_types": ("Temporal_Self", "Temporal_Self"),
    "temporal_position_encoding": True,
    "temporal_position_encoding_max_len": 24,
    "temporal_attention_dim_div": 1,
    "zero_initialize": True,
}

# Keys with the same value in all published configurations; another value would be another network.
FIXED = {
    "act_fn": "silu",
    "add_audio_layer": True,
    "center_input_sample": False,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "mid_block_type": "UNetMidBlock3DCrossAttn",
    "mid_block_scale_factor": 1,
    "resnet_time_scale_shift": "default",
    "motion_module_type": "Vanilla",
    "dual_cross_attention": False,
    "use_linear_projection": False,
    "only_cross_attention": False,
    "upcast_attention": False,
    "use_inflated_groupnorm": False,
    "custom_audio_layer": False,
    "audio_condition_method": "cross_attn",
    "unet_use_cross_frame_attention": False,
    "unet_use_temporal_attention": False,
    "class_embed_type": None,
    "num_class_embeds": None,
}


@dataclass
class UNet3DOutput(BaseOutput):
    """The network's output.

    Attributes:
        sample: the prediction of the noise, or of v: (b, out_channels, f, h, w).
        deep_features: the input of the last layer on the way up, besides the first skip connection, (b, c, f, h, w).
            They change little from step to step (DeepCache, arXiv 2312.00858).
    """

    sample: Tensor
    deep_features: Tensor


def _is_count(value: object, least: int = 1) -> bool:
    return is_whole(value) and value >= least


def _are_whole(values: object) -> bool:
    return isinstance(values, list | tuple) and len(values) > 0 and all(map(_is_count, values))


def _are_motion_kwargs(values: object) -> bool:
    if not isinstance(values, dict) or not values.keys() <= MOTION_MODULE_KWARGS.keys():
        return False
    return all(
        isinstance(value, bool) if isinstance(MOTION_MODULE_KWARGS[key], bool)
        else _is_count(value) if isinstance(MOTION_MODULE_KWARGS[key], int)
        else isinstance(value, list | tuple)
        for key, value in values.items()
    )  # fmt: skip


# The allowed values of the other keys: a check and its description
WHOLE = (_is_count, "a whole number of at least 1")
WHOLES = (_are_whole, "a list of whole numbers of at least 1")
NAMES = (lambda value: isinstance(value, list | tuple) and all(isinstance(n, str) for n in value), "a list of names")
SWITCH = (lambda value: isinstance(value, bool), "true or false")
RULES = {
    "sample_size": (lambda value: value is None or _is_count(value), "a whole number of at least 1, or null"),
    "in_channels": WHOLE,
    "out_channels": WHOLE,
    "down_block_types": NAMES,
    "up_block_types": NAMES,
    "block_out_channels": WHOLES,
    "layers_per_block": WHOLE,
    "downsample_padding": (lambda value: _is_count(value, least=0), "a whole number of at least 0"),
    "norm_num_groups": WHOLE,
    "norm_eps": (lambda value: isinstance(value, float) and 0 < value < 1, "a number between 0 and 1"),
    "cross_attention_dim": WHOLE,
    "attention_head_dim": WHOLE,
    "use_motion_module": SWITCH,
    "motion_module_resolutions": WHOLES,
    "motion_module_mid_block": SWITCH,
    "motion_module_decoder_only": SWITCH,
    "motion_module_kwargs": (_are_motion_kwargs, f"a mapping like {MOTION_MODULE_KWARGS}"),
}


def published_config(config: dict) -> dict:
    """The constructor's arguments from the `model` part of a published configuration.

    Raises:
        OptionError: a key is unknown, or its value is not supported: no network can be built from it, or only one that
            differs from the published ones.
    """
    known_keys = {}
    for key, value in config.items():
        if key in FIXED:
            if value != FIXED[key]:
                raise OptionError(
                    f"UNet option {key}={value!r} is not supported; the published models have {FIXED[key]!r}"
                )
        elif key in RULES:
            fits, needed = RULES[key]
            if not fits(value):
                raise OptionError(f"UNet option {key} is {value!r}; {needed} is needed")
            known_keys[key] = value
        else:
            raise OptionError(f"UNet option {key!r} is unknown; take it out of the model configuration")
    return known_keys


class UNet3DConditionModel(ModelMixin, ConfigMixin, Saving):
    """Denoises the latents of a window of frames, conditioned on one audio window per frame.

    Args:
        sample_size: a key of the published configuration; it is not used, since the network takes any size.
        in_channels: 13 = noisy latents 4, mask 1, masked-image latents 4, reference latents 4.
        attention_head_dim: number of heads, as in Stable Diffusion 1.5 (the name is historical).
        cross_attention_dim: width of the audio states: 384 Whisper tiny, 768 small.
        motion_module_resolutions: downscaling factors of the levels that have motion modules.
        motion_module_decoder_only: motion modules on the way up only (`stage2_efficient`).
        guidance_limit: the greatest guidance scale of a student, which takes guidance as an input (arXiv 2210.03142);
            None: the network has no such input, as in all published configurations.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        sample_size: int | None = None,
        in_channels: int = 13,
        out_channels: int = 4,
        down_block_types: tuple[str, ...] = ("CrossAttnDownBlock3D",) * 3 + ("DownBlock3D",),
        up_block_types: tuple[str, ...] = ("UpBlock3D",) + ("CrossAttnUpBlock3D",) * 3,
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        layers_per_block: int = 2,
        downsample_padding: int = 1,
        norm_num_groups: int = 32,
        norm_eps: float = 1e-5,
        cross_attention_dim: int = 384,
        attention_head_dim: int = 8,
        use_motion_module: bool = True,
        motion_module_resolutions: tuple[int, ...] = (1, 2, 4, 8),
        motion_module_mid_block: bool = False,
        motion_module_decoder_only: bool = False,
        motion_module_kwargs: dict | None = None,
        guidance_limit: float | None = None,
    ) -> None:
        super().__init__()
        channels = list(block_out_channels)
        levels = len(channels)
        divisors = {"norm_num_groups": norm_num_groups, "attention_head_dim": attention_head_dim}
        if use_motion_module:
            divisors["the motion modules' groups,"] = MOTION_NORM_GROUPS
        self._check(channels, down_block_types, up_block_types, divisors)
        motion_kwargs = MOTION_MODULE_KWARGS | dict(motion_module_kwargs or {})
        common = {"temb_channels": 4 * channels[0], "groups": norm_num_groups, "eps": norm_eps}
        audio = {"audio_dim": cross_attention_dim}

        def motion(level: int, wanted: bool = True) -> dict:
            present = use_motion_module and wanted and 2**level in motion_module_resolutions
            return {"motion_kwargs": motion_kwargs if present else None}

        self.conv_in = FrameConv(in_channels, channels[0], 3, padding=1)
        self.time_proj = Timesteps(channels[0], flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(channels[0], 4 * channels[0])
        if guidance_limit is not None:
            self.guidance_embedding = TimestepEmbedding(channels[0], 4 * channels[0])
            nn.init.zeros_(self.guidance_embedding.linear_2.weight)
            nn.init.zeros_(self.guidance_embedding.linear_2.bias)

        self.down_blocks = nn.ModuleList(
            DownBlock(
                channels[max(level - 1, 0)],
                channels[level],
                layers_per_block,
                downsample_padding,
                downsample=level < levels - 1,
                heads=attention_head_dim if down_block_types[level].startswith("CrossAttn") else None,
                **motion(level, wanted=not motion_module_decoder_only),
                **audio,
                **common,
            )
            for level in range(levels)
        )
        self.mid_block = MidBlock(
            channels[-1],
            heads=attention_head_dim,
            motion_kwargs=motion_kwargs if use_motion_module and motion_module_mid_block else None,
            **audio,
            **common,
        )
        self.up_blocks = nn.ModuleList(
            UpBlock(
                channels[min(level + 1, levels - 1)],
                channels[level],
                [channels[level]] * layers_per_block + [channels[max(level - 1, 0)]],
                upsample=level > 0,
                heads=attention_head_dim if up_block_types[levels - 1 - level].startswith("CrossAttn") else None,
                **motion(level),
                **audio,
                **common,
            )
            for level in reversed(range(levels))
        )
        self.conv_norm_out = nn.GroupNorm(norm_num_groups, channels[0], eps=norm_eps)
        self.conv_out = FrameConv(channels[0], out_channels, 3, padding=1)
        for conv in (self.conv_in, self.conv_out):
            nn.init.zeros_(conv.weight)
            nn.init.zeros_(conv.bias)

    @staticmethod
    def _check(channels: list[int], down_block_types, up_block_types, divisors: dict[str, int]) -> None:
        levels = len(channels)
        for name, divisor in divisors.items():
            if odd := [width for width in channels if width % divisor]:
                raise OptionError(f"block_out_channels has {odd}; multiples of {name} {divisor} are needed")
        for name, types, allowed in (
            ("down_block_types", down_block_types, DOWN_BLOCK_TYPES),
            ("up_block_types", up_block_types, UP_BLOCK_TYPES),
        ):
            if len(types) != levels or not set(types) <= set(allowed):
                raise OptionError(f"{name} is {list(types)}; {levels} of {', '.join(allowed)} are needed")

    @property
    def guidance_limit(self) -> float | None:
        """The greatest guidance scale that the network takes as an input; None if it takes none."""
        return self.config.guidance_limit

    @property
    def max_num_frames(self) -> int | None:
        """The longest window the motion modules' positions allow; None without motion modules."""
        if not self.config.use_motion_module:
            return None
        kwargs = MOTION_MODULE_KWARGS | dict(self.config.motion_module_kwargs or {})
        return kwargs["temporal_position_encoding_max_len"]

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        encoder_hidden_states: Tensor | AudioStates | None,
        deep_features: Tensor | None = None,
        guidance: Tensor | None = None,
    ) -> UNet3DOutput:
        """Predicts the noise (or v) of a window.

        Args:
            sample: (b, in_channels, f, h, w).
            timestep: one for all, or (b,).
            encoder_hidden_states: audio windows, (b*f, t, d) or (b, f, t, d); None leaves cross-attention out. As
                `AudioStates` they serve all steps of a window, and both parts of guidance; the batch's second half
                then repeats its first.
            deep_features: those of an earlier step. With them only the first and the last layer are computed.
            guidance: the guidance scale of each window, (b,), for a network with a `guidance_limit`; None is 1. Other
                networks ignore it.

        Raises:
            OptionError: channels, frames or audio width do not fit the network.
        """
        audio = self._audio_states(encoder_hidden_states)
        self._check_input(sample, None if audio is None else audio.states)
        temb = self._embed_time(timestep, sample)
        if self.guidance_limit is not None:
            temb = temb + self._embed_guidance(guidance, sample)
        batch, is_shared = len(sample), audio is not None and audio.is_guided and self.saves("shared_start", sample)
        if is_shared:
            sample = sample[: batch // 2]
        if self.saves("channels_last", sample):
            sample = sample.contiguous(memory_format=torch.channels_last_3d)

        first = self.conv_in(sample)
        if deep_features is None:
            deep_features = self._deep_features(first, temb, audio)
        hidden_states = self.up_blocks[-1].last_layer(deep_features, first, temb, audio)
        sample = self.conv_out(silu(self.conv_norm_out(hidden_states)))
        if len(sample) < batch:
            sample, deep_features = (torch.cat([part, part]) for part in (sample, deep_features))
        return UNet3DOutput(sample=sample, deep_features=deep_features)

    @staticmethod
    def _audio_states(audio: Tensor | AudioStates | None) -> AudioStates | None:
        if not isinstance(audio, Tensor):
            return audio
        return AudioStates(rearrange(audio, "b f t d -> (b f) t d") if audio.ndim == 4 else audio)

    def train(self, mode: bool = True) -> "UNet3DConditionModel":
        """As in torch. For training, weights get their plain layout back."""
        if mode:
            lay_out_plainly(self)
        return super().train(mode)

    def _deep_features(self, hidden_states: Tensor, temb: Tensor, audio: AudioStates | None) -> Tensor:
        """The way down and up, except for the last layer."""
        skips = [hidden_states]
        for block in self.down_blocks:
            hidden_states, block_skips = block(hidden_states, temb, audio)
            skips += block_skips
        hidden_states = self.mid_block(hidden_states, temb, audio)
        *lower, top = self.up_blocks
        for block in lower:
            hidden_states = block(hidden_states, skips, temb, audio)
        return top.all_but_last_layer(hidden_states, skips, temb, audio)

    def _embed_time(self, timestep: Tensor | float, sample: Tensor) -> Tensor:
        timesteps = torch.as_tensor(timestep, device=sample.device).reshape(-1).expand(sample.shape[0])
        return self.time_embedding(self.time_proj(timesteps).to(sample.dtype))

    def _embed_guidance(self, guidance: Tensor | None, sample: Tensor) -> Tensor:
        scales = sample.new_ones(sample.shape[0], dtype=torch.float32) if guidance is None else guidance
        places = self.time_proj((scales.float().clamp(min=1) - 1) * GUIDANCE_UNIT)
        return self.guidance_embedding(places.to(sample.dtype))

    def _check_input(self, sample: Tensor, audio: Tensor | None) -> None:
        if sample.ndim != 5 or sample.shape[1] != self.config.in_channels:
            raise OptionError(
                f"sample has shape {tuple(sample.shape)}; "
                f"(batch, {self.config.in_channels}, frames, height, width) is needed"
            )
        if self.max_num_frames is not None and sample.shape[2] > self.max_num_frames:
            raise OptionError(
                f"a window of {sample.shape[2]} frames is too long: the motion modules know {self.max_num_frames} "
                f"positions; set num_frames to at most {self.max_num_frames}"
            )
        if audio is not None and audio.shape[-1] != self.config.cross_attention_dim:
            raise OptionError(
                f"audio states are {audio.shape[-1]} wide, but the network takes {self.config.cross_attention_dim} "
                f"(384 is Whisper tiny, 768 small); load the Whisper that fits"
            )
