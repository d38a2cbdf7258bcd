"""The windows of a video, and the frames that neighbouring windows share, blended at every step of the denoising."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from einops import rearrange
from torch import Tensor

from latentsync.shapes import Latents

Span = tuple[int, int]  # (start, stop), frames of the video


def windows_of(num_frames: int, window: int, overlap: int = 0) -> list[Span]:
    """The windows of a video. The last one may be shorter, but it has more frames than it shares.

    Args:
        num_frames: of the video.
        window: frames in a window.
        overlap: frames that neighbouring windows share, at most half a window.
    """
    starts = range(0, max(1, num_frames - overlap), window - overlap)
    return [(start, min(start + window, num_frames)) for start in starts]


def window_batches(num_frames: int, window: int, batch_size: int, overlap: int = 0) -> list[list[Span]]:
    """The windows of a video grouped into batches; a shorter last window is a batch of its own.

    Args:
        num_frames, window, overlap: see `windows_of`.
        batch_size: windows in a batch, at most.
    """
    windows = windows_of(num_frames, window, overlap)
    whole = [w for w in windows if w[1] - w[0] == window]
    rest = windows[len(whole) :]
    batches = [whole[i : i + batch_size] for i in range(0, len(whole), batch_size)]
    return batches + [[w] for w in rest]


def new_spans(windows: Sequence[Span], known: int) -> list[Span]:
    """The frames that each window adds to those before it.

    Args:
        known: how many of the video's frames the windows before these have.
    """
    ends = [known, *(stop for _, stop in windows)]
    return list(pairwise(ends))


class SharedFrames:
    """Blends the frames that neighbouring windows share; `denoise` calls it after each step.

    The later window moves towards the earlier one: of k shared frames the i-th (from 1) keeps i / (k + 1) of its own
    latents. The earlier window stays as it is. So windows can be denoised in groups, in the video's order. Of each
    group only the last shared frames are kept, for every step. The result does not depend on the size of the groups.

    Args:
        overlap: how many frames two windows share.
        num_settings: how many settings are denoised side by side.
    """

    def __init__(self, overlap: int, num_settings: int = 1) -> None:
        self._overlap, self._num_settings = overlap, num_settings
        self._before: list[Tensor] = []  # for each step, the last frames of the former group, (s, c, k, h, w)
        self._now: list[Tensor] = []
        self._windows: list[Span] = []
        self._is_next: list[bool] = []  # whether each window shares frames with the one before it

    def next_group(self, windows: Sequence[Span]) -> None:
        """Starts a group of windows. If some are left out, their neighbours share no frames with anything."""
        known = [*self._windows[-1:], *windows]
        self._is_next = [before[1] - after[0] == self._overlap for before, after in pairwise(known)]
        self._is_next = [False] * (len(windows) - len(self._is_next)) + self._is_next
        self._before, self._now, self._windows = self._now, [], list(windows)

    def __call__(self, step: int, latents: Latents) -> Latents:
        """The latents of the group's windows after a step, blended.

        Args:
            step: its index.
            latents: ((settings windows), c, f, h, w).
        """
        if not self._overlap:
            return latents
        windows = rearrange(latents, "(s w) c f h x -> s w c f h x", s=self._num_settings)
        last = windows[:, :, :, -self._overlap :]
        self._now.append(last[:, -1].clone())
        share = torch.arange(1, self._overlap + 1, device=latents.device, dtype=latents.dtype) / (self._overlap + 1)
        blended = windows.clone()
        for place, is_next in enumerate(self._is_next):
            if is_next:
                earlier = last[:, place - 1] if place else self._before[step]
                later = windows[:, place, :, : self._overlap]
                blended[:, place, :, : self._overlap] = torch.lerp(earlier, later, share[:, None, None])
        return rearrange(blended, "s w c f h x -> (s w) c f h x")
