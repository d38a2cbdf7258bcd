"""How far results in float32 may lie apart that differ only in the order in which a processor adds."""

import torch
from torch import nn

EPS = torch.finfo(torch.float32).eps
LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
DEVIATIONS = 5  # of a normal distribution: the largest of a million numbers is compared


def rounding(*networks: nn.Module) -> float:
    """The bound for networks that run one after another, relative to the size of what they pass on.

    Kernels, batches and threads differ in the order of their sums. Whatever the order, the roundings of a sum of n
    products leave an error with a standard deviation of at most sqrt(n) * eps of the result's size (Higham and Mary,
    SIAM J. Sci. Comput. 41, A2815, 2019; the worst case would be n * eps / 2 of the sum of absolute values). The
    networks normalise what each block reads, so a layer's error is passed on at its size, and the errors of layers,
    being independent, add up in squares: sqrt(n1 + n2 + ...) * eps. A network that runs k times is given k times.
    """
    layers = [layer for network in networks for layer in network.modules() if isinstance(layer, LAYERS)]
    return DEVIATIONS * EPS * sum(layer.weight[0].numel() for layer in layers) ** 0.5
