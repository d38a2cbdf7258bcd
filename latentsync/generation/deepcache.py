"""DeepCache (arXiv 2312.00858): some steps run the whole network, the others only its outermost layers.

Those layers need the deep features, which change slowly from step to step. Between whole steps they are repeated, as in
the paper, or extrapolated from the last two whole steps.
"""

import torch
from torch import Tensor


class DeepCache:
    """Says which steps of one call of `denoise` run the whole network, and gives the others their deep features.

    Features are on the batch axis as predictions are: without audio first, then with it. Each half is extrapolated from
    its own. Where a step needs the half without audio and the step before did not have it, the whole network runs.

    Args:
        num_steps: of the call.
        interval: the whole network runs at every n-th step only. 1 is off.
        order: of the polynomial in the logarithm of signal to noise. 0 repeats the features of the last whole step, as
            in the paper; 1 extrapolates linearly from the last two, and repeats while it knows one only.
        final_steps: how many of the last steps run the whole network, too. The very last one leads to the clean
            latents, and no later step corrects it.
    """

    def __init__(self, num_steps: int, interval: int = 1, order: int = 0, final_steps: int = 0) -> None:
        self._interval, self._order, self._final = interval, order, num_steps - final_steps
        self._whole: list[tuple[float, Tensor]] = []  # place and features of the last whole steps, newest last

    @property
    def is_on(self) -> bool:
        """Whether any step may use the features of another."""
        return self._interval > 1

    def features(self, index: int, place: float, batch: int) -> Tensor | None:
        """The deep features of a step; None where the whole network has to run.

        Args:
            index: of the step; steps come in order.
            place: of the step: its `log_snr`.
            batch: how many predictions the step needs: once or twice the number of windows.
        """
        is_whole = index % self._interval == 0 or index >= self._final
        if is_whole or not self._whole or len(self._whole[-1][1]) < batch:
            return None
        self._whole = [(known, features[-batch:]) for known, features in self._whole if len(features) >= batch]
        last, features = self._whole[-1]
        if len(self._whole) == 1:
            return features
        first, earlier = self._whole[0]
        return torch.lerp(earlier, features, (place - first) / (last - first))

    def keep(self, place: float, features: Tensor) -> None:
        """Keeps the features of a step that ran the whole network."""
        others = [step for step in self._whole if step[0] != place]  # some solvers call the network twice at a timestep
        self._whole = [*others, (place, features)][-1 - self._order :]
