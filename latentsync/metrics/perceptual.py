"""How different two pictures look to a person: LPIPS.

Goal: distance between each generated face crop and the source's crop of the same frame. It measures quality only if the
voice is the clip's own, since then the source shows the right lips. Otherwise it measures how much was changed.

Conventions: crops `(f, 3, h, w)`, RGB, uint8 0..255 or float -1..1. The distance has no unit, is 0 for identical
pictures and grows with the difference; a distance below about 0.1 is hard to see.

Source: Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (CVPR 2018), LPIPS v0.1
with AlexNet or VGG16, as in the `lpips` package. Backbone and linear heads of each come from one file of the catalogue.
"""

import pickle
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import lpips
import numpy as np
import torch
from torch import Tensor

from latentsync import weights
from latentsync.errors import WeightsError
from latentsync.weights import state_dict_sha256

LPIPS_WEIGHTS = "lpips/alexnet.ckpt"
BATCH_FRAMES = 16  # compared at once, so that memory does not depend on the number of frames
FEATURES_BYTES = 192 * 2**20  # of the features that are kept in memory: those of 280 crops of 128 px with AlexNet
SMALLEST_PX = 32  # AlexNet's last stage needs a few pixels

# By network: the file, its name for the backbone, and the backbone's convolutions as the `lpips` package names them.
_NETS = {
    "alex": (
        LPIPS_WEIGHTS,
        "AlexNet_0",
        ("net.slice1.0", "net.slice2.3", "net.slice3.6", "net.slice4.8", "net.slice5.10"),
    ),
    "vgg": (
        "lpips/vgg16.ckpt",
        "VGG16_0",
        (
            "net.slice1.0", "net.slice1.2", "net.slice2.5", "net.slice2.7", "net.slice3.10", "net.slice3.12",
            "net.slice3.14", "net.slice4.17", "net.slice4.19", "net.slice4.21", "net.slice5.24", "net.slice5.26",
            "net.slice5.28",
        ),
    ),
}  # fmt: skip
LPIPS_NETS = tuple(_NETS)
_HEADS = 5
_ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}


def validate(a: Tensor, b: Tensor) -> None:
    """Refuses crops that cannot be compared.

    Raises:
        ValueError: crops are not `(f, 3, r, r)`, differ in shape, are too small, or hold floats outside -1..1.
    """
    if a.shape != b.shape:
        raise ValueError(f"crops of shape {tuple(a.shape)} and {tuple(b.shape)} cannot be compared; make them equal")
    if a.ndim != 4 or a.shape[1] != 3 or min(a.shape[2:]) < SMALLEST_PX:
        raise ValueError(f"crops have shape {tuple(a.shape)}; it must be (f, 3, h, w) of at least {SMALLEST_PX} px")
    for crops in (a, b):
        if crops.dtype != torch.uint8 and crops.numel() and not float(crops.abs().max()) <= 1.001:
            raise ValueError(f"float crops must lie in -1..1 and be finite; the largest is {float(crops.abs().max())}")


class _ArrayUnpickler(pickle.Unpickler):
    """Reads dicts of numpy arrays and refuses everything else that a pickle could name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise WeightsError(f"the weight file names {module}.{name}, which arrays do not need; it is not read")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_arrays(path: Path) -> dict[str, Any]:
    """The nested dict of numpy arrays in a pickle; no code of the file is run.

    Raises:
        WeightsError: the file names anything but numpy arrays, or is damaged.
    """
    with open(path, "rb") as file:
        try:
            return _ArrayUnpickler(file).load()
        except (pickle.UnpicklingError, EOFError) as error:
            raise WeightsError(f"{path} is damaged ({error}); delete it and fetch it again") from error


def lpips_state_dict(arrays: dict[str, Any], net: str = "alex") -> dict[str, Tensor]:
    """The carrier's arrays under the names of the `lpips` package; kernels go from HWIO to OIHW."""
    state, (_, backbone, convolutions) = {}, _NETS[net]
    for layer, name in enumerate(convolutions):
        convolution = arrays[backbone][f"Conv_{layer}"]
        state[f"{name}.weight"] = _oihw(convolution["kernel"])
        state[f"{name}.bias"] = torch.from_numpy(np.array(convolution["bias"]))
    for layer in range(_HEADS):
        head = _oihw(arrays[f"NetLinLayer_{layer}"]["Conv_0"]["kernel"])
        state[f"lin{layer}.model.1.weight"] = state[f"lins.{layer}.model.1.weight"] = head
    return state


def _oihw(kernel: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)))


def lpips_network(device: str = "cpu", net: str = "alex") -> lpips.LPIPS:
    """LPIPS v0.1 in float32, ready for use; all callers share it. `lpips` and torchvision download nothing.

    Args:
        net: "alex" or "vgg".

    Raises:
        WeightsError: the weights are not on this machine and cannot be fetched.
    """
    return loaded_lpips(device, net)


@cache  # with both arguments always given, so that callers with and without the default device share one network
@torch.inference_mode(False)  # for any first caller: a training may get the same network, and needs gradients
def loaded_lpips(device: str, net: str) -> lpips.LPIPS:
    """The cached part of `lpips_network`."""
    state = lpips_state_dict(read_arrays(weights.locate(_NETS[net][0])), net)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):  # its random start is overwritten
        warnings.simplefilter("ignore")  # torchvision's old argument names, in lpips' own code
        network = lpips.LPIPS(net=net, version="0.1", pretrained=False, pnet_rand=True, verbose=False)
    state |= {name: value for name, value in network.state_dict().items() if name.startswith("scaling_layer.")}
    network.load_state_dict(state, strict=True)
    return network.requires_grad_(False).eval().to(device)


def lpips_hash(net: str = "alex") -> str:
    """The first digits of the SHA-256 of the network's weight file, for records."""
    return weights.known(_NETS[net][0]).sha256[:12]


class KeptFeatures:
    """Features of the last crops that were compared with something, for results of one clip, which are compared with
    the same crops.

    Args:
        max_bytes: of the features; those that were unused for longest go first.
    """

    def __init__(self, max_bytes: int = FEATURES_BYTES) -> None:
        self._max_bytes, self._bytes = max_bytes, 0
        self._features: dict[tuple, list[Tensor]] = {}
        self._lock = Lock()

    def __call__(self, crops: Tensor, place: tuple[str, str], compute: Callable[[], list[Tensor]]) -> list[Tensor]:
        """The features of crops, computed if they are not kept.

        Args:
            place: the network's name and device.
        """
        key = (*place, state_dict_sha256({"": crops}))
        with self._lock:
            features = self._features.pop(key, None)
            if features is not None:
                self._features[key] = features
                return features
        features = compute()
        with self._lock:
            if key not in self._features:
                self._features[key] = features
                self._bytes += _num_bytes(features)
            while self._bytes > self._max_bytes:
                self._bytes -= _num_bytes(self._features.pop(next(iter(self._features))))
        return features


def _num_bytes(features: list[Tensor]) -> int:
    return sum(part.nbytes for part in features)


def _features(network: lpips.LPIPS, crops: Tensor) -> list[Tensor]:
    """The unit vectors that LPIPS compares, of each stage; crops are float -1..1."""
    return [lpips.normalize_tensor(stage) for stage in network.net.forward(network.scaling_layer(crops))]


@torch.inference_mode()
def lpips_distance(
    a: Tensor, b: Tensor, device: str = "cpu", net: str = "alex", kept: KeptFeatures | None = None
) -> np.ndarray:
    """LPIPS distance of each pair of crops.

    Args:
        a, b: `(f, 3, h, w)`, uint8 0..255 or float -1..1.
        net: "alex" or "vgg".
        kept: keeps the features of `b`. None: they are not kept.

    Returns:
        float64 distances, `(f,)`; 0 for identical crops.

    Raises:
        ValueError: as `validate`.
        WeightsError: as `lpips_network`.
    """
    validate(a, b)
    network = lpips_network(device, net)

    def distance(left: Tensor, right: Tensor) -> np.ndarray:
        def of_right() -> list[Tensor]:
            return _features(network, _signed(right, device))

        given = of_right() if kept is None else kept(right, (net, device), of_right)
        stages = zip(network.lins, _features(network, _signed(left, device)), given, strict=True)
        means = [lpips.spatial_average(head((one - other) ** 2)) for head, one, other in stages]
        return sum(means).flatten().cpu().double().numpy()

    parts = zip(a.split(BATCH_FRAMES), b.split(BATCH_FRAMES), strict=True)
    distances = [distance(left, right) for left, right in parts if len(left)]
    return np.concatenate(distances) if distances else np.empty(0)


def _signed(crops: Tensor, device: str) -> Tensor:
    """Crops as float32 -1..1 on the device."""
    crops = crops.to(device)
    return crops.float() / 127.5 - 1 if crops.dtype == torch.uint8 else crops.float()
