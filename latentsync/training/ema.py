"""The exponential moving average of networks' weights. Knows no loop.

Source: Polyak and Juditsky 1992; the warm-up of the decay is that of TensorFlow's ExponentialMovingAverage.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from latentsync.errors import OptionError, WeightsError

UPDATES = "updates"  # name of the count in the state dict


class MovingAverage:
    """Averages of the trained weights, in float32 on their device. Buffers and frozen weights are left out.

    After n updates the next one keeps min(decay, (1 + n) / (10 + n)) of the average. So the first weights, which are
    the worst, soon lose their influence.

    Args:
        networks: by name; the average starts from their weights.
        decay: share of the average that stays at each update, 0 < decay < 1.

    Raises:
        OptionError: the decay is out of range.
    """

    def __init__(self, networks: Mapping[str, nn.Module], decay: float) -> None:
        if not 0 < decay < 1:
            raise OptionError(f"ema_decay is {decay}; it must be above 0 and below 1 (0.999 is usual)")
        self.decay = decay
        self.updates = 0
        self._weights = trained_weights(networks)
        self._average = {name: weight.detach().float().clone() for name, weight in self._weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Moves the average towards the weights as they are now."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for name, weight in self._weights.items():
            self._average[name].lerp_(weight.detach().float(), 1 - decay)

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Inside the block the networks have the average as weights; after it, also on errors, their own again."""
        own = {name: weight.detach().clone() for name, weight in self._weights.items()}
        self._copy(self._average)
        try:
            yield
        finally:
            self._copy(own)

    @torch.no_grad()
    def _copy(self, values: Mapping[str, Tensor]) -> None:
        for name, weight in self._weights.items():
            weight.copy_(values[name])

    def state_dict(self) -> dict[str, Tensor]:
        """The average as `network.weight` and the number of updates, all tensors."""
        return {**self._average, UPDATES: torch.tensor(self.updates)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continues from a saved average.

        Raises:
            WeightsError: it belongs to other networks.
        """
        wrong = (self._average.keys() | {UPDATES}) ^ state.keys()
        wrong |= {name for name, value in self._average.items() if name in state and state[name].shape != value.shape}
        if wrong:
            raise WeightsError(
                f"the saved moving average does not fit the networks at {', '.join(sorted(wrong)[:3])}; "
                f"train these networks in a folder of their own"
            )
        self.updates = int(state[UPDATES])
        for name, average in self._average.items():
            average.copy_(state[name])


def trained_weights(networks: Mapping[str, nn.Module]) -> dict[str, nn.Parameter]:
    """The parameters that require gradients, each once, as `network.parameter`."""
    weights, seen = {}, set()
    for network_name, network in networks.items():
        for name, weight in network.named_parameters():
            if weight.requires_grad and id(weight) not in seen:
                weights[f"{network_name}.{name}"] = weight
                seen.add(id(weight))
    return weights
