"""The audio that a window's cross-attention layers attend to, with what they compute of it."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from latentsync.unet.attention import Attention


class AudioStates:
    """Audio windows of a batch, to be used for all steps of a window.

    Args:
        states: (n, t, d): one audio window for each frame of the batch.
        is_guided: whether the batch consists of the same windows twice, first without audio (zero states, from which
            guidance leads away), then with it. `states` are those of the second part then.
        keeps: whether keys and values are kept for later steps.
    """

    def __init__(self, states: Tensor, is_guided: bool = False, keeps: bool = False) -> None:
        self.states, self.is_guided, self._keeps = states, is_guided, keeps
        self._kept: dict[tuple[Attention, bool], tuple[Tensor, Tensor]] = {}

    @property
    def num_silent(self) -> int:
        """How many frames have no audio; they are the first of the batch."""
        return len(self.states) if self.is_guided else 0

    def in_full(self, part: Tensor) -> Tensor:
        """Frames or windows of both parts of guidance, from those that the parts still share."""
        is_shared = self.is_guided and (part.shape[0] * part.shape[2] if part.ndim == 5 else len(part)) == len(
            self.states
        )
        return torch.cat([part, part]) if is_shared else part

    def keys_and_values(self, layer: "Attention", voiced_only: bool = False) -> tuple[Tensor, Tensor]:
        """What the layer attends to, for each frame or only for those that have audio."""
        key = layer, voiced_only
        if key in self._kept:
            return self._kept[key]
        states = self.states
        if self.is_guided and not voiced_only:
            states = torch.cat([torch.zeros_like(states), states])
        computed = layer.keys_and_values(states)
        if self._keeps:
            self._kept[key] = computed
        return computed
