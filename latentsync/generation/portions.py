"""How much the networks compute at a time. Smaller portions need less memory, and results are equal within rounding."""

import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from latentsync.errors import is_memory_shortage
from latentsync.unet.audio import AudioStates
from latentsync.unet.model import UNet3DConditionModel
from latentsync.unet.savings import keep_freed_memory

log = logging.getLogger(__name__)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Sizes:
    """The portions of the two large networks.

    Attributes:
        windows: that the UNet takes at a time; None: all of a batch.
        by_branch: whether the two parts of guidance, without and with audio, run one after the other, and the audio's
            keys and values are made anew at each step.
        frames: that the VAE takes at a time; None: as many as are fast, see `latents.frames_at_once`.
    """

    windows: int | None = None
    by_branch: bool = False
    frames: int | None = None


LEAST = Sizes(windows=1, by_branch=True, frames=1)


class Portions:
    """The portions in use. When the memory runs out they become the least ones, once, and the failed call is repeated.

    Args:
        sizes: to begin with; None: the usual ones.
        purpose: what they were chosen for.

    Attributes:
        sizes: those in use.
    """

    def __init__(self, sizes: Sizes | None = None, purpose: Hashable = None) -> None:
        self.sizes, self.purpose = sizes or Sizes(), purpose

    def attempt(self, call: Callable[[], Result], what: str) -> Result:
        """What the call returns. It reads `sizes`, and runs again with the least ones if the memory does not suffice.

        Args:
            what: the call's network, for the message.

        Raises:
            The call's error, if it is not a lack of memory or the portions are the least already.
        """
        try:
            return call()
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_memory_shortage(error) or self.sizes == LEAST:
                raise
        self._step_down(what)  # here, where the error's frames hold no tensor any more
        return call()

    def _step_down(self, what: str) -> None:
        log.warning(
            "the memory does not hold a call of the %s; from here on the UNet takes one window at a time, first "
            "without audio, then with it, and the VAE takes one frame. This is slower, and the result is the same.",
            what,
        )
        self.sizes = LEAST
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        keep_freed_memory(False)


class PortionedUNet:
    """The UNet over the windows of a batch, for all steps, in portions.

    Args:
        states: the audio's, (windows * f, t, d).
        num_windows: of the batch.
        portions: how much it takes at a time.
        keeps_features: whether deep features are wanted.
    """

    def __init__(
        self, unet: UNet3DConditionModel, states: Tensor, num_windows: int, portions: Portions, keeps_features: bool
    ) -> None:
        self._unet, self._states, self._num_windows = unet, states, num_windows
        self._portions, self._keeps_features = portions, keeps_features
        self._audio: dict[tuple[int, bool], AudioStates] = {}  # by first window and whether it is guided
        self._sizes = portions.sizes  # that this audio is of

    def __call__(
        self, sample: Tensor, timestep: Tensor, guided: bool, cached: Tensor | None, **guidance: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """The prediction with audio for each window, below the one without if it is guided; and its deep features.

        Args:
            sample: (windows, c, f, h, w).
            guided: whether the network runs without audio, too.
            cached: deep features of an earlier step, as many as predictions.
            guidance: `guidance` of each window, for a student.
        """
        return self._portions.attempt(lambda: self._run(sample, timestep, guided, cached, **guidance), "UNet")

    def _run(
        self, sample: Tensor, timestep: Tensor, guided: bool, cached: Tensor | None, **guidance: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        sizes, count = self._portions.sizes, self._num_windows
        if sizes != self._sizes:
            self._audio, self._sizes = {}, sizes
        spans = [slice(start, start + (sizes.windows or count)) for start in range(0, count, sizes.windows or count)]
        parts = [(False,), (True,)] if guided and sizes.by_branch else [(False, True) if guided else (True,)]
        outputs = {}
        for span in spans:
            for voiced in parts:
                some = torch.cat([sample[span]] * len(voiced)) if len(voiced) > 1 else sample[span]
                features = None
                if cached is not None:
                    by_part = dict(zip((False, True) if guided else (True,), cached.split(count), strict=True))
                    features = torch.cat([by_part[part][span] for part in voiced])
                scales = {name: value[span] for name, value in guidance.items()}
                output = self._unet(some, timestep, self._audio_of(span, voiced), features, **scales)
                kept = output.deep_features if self._keeps_features else None
                outputs[span.start, voiced] = output.sample, kept
                del output
        if len(outputs) == 1:
            return outputs.popitem()[1]
        by_branch = [
            tuple(None if value is None else value.chunk(len(voiced))[voiced.index(branch)] for value in output)
            for branch in (False, True)
            for (_, voiced), output in outputs.items()
            if branch in voiced
        ]
        samples, features = zip(*by_branch, strict=True)
        return torch.cat(samples), torch.cat(features) if self._keeps_features else None

    def _audio_of(self, windows: slice, voiced: tuple[bool, ...]) -> AudioStates:
        frames = len(self._states) // self._num_windows
        states = self._states[windows.start * frames : windows.stop * frames]
        if self._sizes.by_branch:  # nothing is kept, and the part without audio is not seen beside the other
            return AudioStates(states if True in voiced else torch.zeros_like(states))
        key = windows.start, len(voiced) > 1
        if key not in self._audio:
            self._audio[key] = AudioStates(states, len(voiced) > 1, self._unet.savings.audio_once)
        return self._audio[key]
