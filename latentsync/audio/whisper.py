"""Whisper's encoder, whose states condition the UNet. Knows mels, but no sound files or video frames."""

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import pad
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

N_MELS = 80
SEGMENT_FRAMES = 3000  # mel frames of 30 s, the encoder's input
SEGMENT_STATES = SEGMENT_FRAMES // 2  # its output


class WhisperStates(torch.nn.Module):
    """Whisper's encoder; returns every block's state before the final norm.

    Args:
        encoder: the implementation of transformers, with its weights.

    Attributes:
        english_only: whether the weights are of a ".en" model, which has the shape of a multilingual one but other
            numbers. False if the file does not show it.
    """

    english_only = False

    def __init__(self, encoder: WhisperEncoder) -> None:
        super().__init__()
        self.encoder = encoder.eval().requires_grad_(False)

    @classmethod
    def from_dims(cls, width: int, heads: int, layers: int) -> "WhisperStates":
        """An encoder of the given size with random weights."""
        return cls(
            WhisperEncoder(
                WhisperConfig(
                    d_model=width,
                    encoder_layers=layers,
                    encoder_attention_heads=heads,
                    encoder_ffn_dim=4 * width,
                    num_mel_bins=N_MELS,
                    max_source_positions=SEGMENT_FRAMES // 2,
                )
            )
        )

    @property
    def width(self) -> int:
        return self.encoder.config.d_model

    @property
    def heads(self) -> int:
        return self.encoder.config.encoder_attention_heads

    def forward(self, mel: Tensor) -> Tensor:
        """(80, n) log-mel -> (about n / 2, layers + 1, width); each segment of 30 s is encoded separately."""
        starts = range(0, mel.shape[1], SEGMENT_FRAMES)
        return torch.cat([self.segment(mel[:, start : start + SEGMENT_FRAMES]) for start in starts])

    @torch.no_grad()
    def segment(self, mel: Tensor) -> Tensor:
        """The states of one segment of at most 30 s: (80, n) log-mel -> (n // 2, layers + 1, width)."""
        states: list[Tensor] = []

        def keep(state: Tensor | tuple) -> None:
            states.append(state[0] if isinstance(state, tuple) else state)

        layers = self.encoder.layers
        hooks = [layers[0].register_forward_pre_hook(lambda _, args: keep(args))]
        hooks += [layer.register_forward_hook(lambda _, args, output: keep(output)) for layer in layers]
        try:
            padded = pad(mel, (0, SEGMENT_FRAMES - mel.shape[1]))  # 0 in normalised log-mel, not silence
            self.encoder(padded[None].to(self.encoder.device, self.encoder.dtype))
        finally:
            for hook in hooks:
                hook.remove()
        return rearrange(torch.stack(states), "s 1 t d -> t s d")[: mel.shape[1] // 2]
