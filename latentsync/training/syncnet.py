"""Trains StableSyncNet, which decides whether lips belong to a piece of speech; a trained one also gives a loss.

A window of faces and its own sound belong together. A window and the sound of another window of the same clip do not,
and only the lips show the difference (arXiv 2412.09262, section 3.3).
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import Dataset

from latentsync.checkpoints.model import CONFIG_FILE, WEIGHTS_FILE, plain_tensors
from latentsync.errors import OptionError
from latentsync.faces.masks import crops_to_pixels, pixels_to_crops
from latentsync.metrics.own_syncnet import SYNCNET_FOLDER, UntrainedError, load_own_syncnet, load_trained_syncnet
from latentsync.metrics.stable_syncnet import StableSyncNet, lower_halves, on_channels
from latentsync.shapes import Crops
from latentsync.training.clips import find_clips, split
from latentsync.training.losses import Faces, sync_loss
from latentsync.training.settings import read_settings
from latentsync.training.windows import WindowSet

LEAST_COSINE = 0.5  # a pair with at least this cosine counts as in sync, as in the original's accuracy test


@dataclass(frozen=True)
class SyncNetSettings:
    """The settings of training a SyncNet.

    Attributes:
        num_frames: of a window; the network's visual encoder takes 3 channels of each.
        gap_frames: least distance between the beginnings of the two windows of a sample. If they overlap, the network
            learns to recognise an offset of a few frames.
        held_out_share: of the identities, for validation.
        flip, colour_jitter: augmentation, see `windows.WindowSet`.
    """

    num_frames: int = 16
    gap_frames: int = 3
    held_out_share: float = 0.1
    flip: bool = True
    colour_jitter: float = 0.1


class SyncNetTask:
    """A StableSyncNet in training; see `task.Task`.

    Args:
        network: training starts from its present weights.
        config: of the network; it is exported with the weights.
    """

    def __init__(self, network: StableSyncNet, config: dict, settings: SyncNetSettings) -> None:
        check_num_frames(network, settings.num_frames)
        self.network, self.config = network.train().requires_grad_(True), config

    def networks(self) -> dict[str, nn.Module]:
        return {"syncnet": self.network}

    def cosines(self, crops: Crops, mel: Tensor) -> Float[Tensor, " b"]:
        """The cosines between windows of faces and pieces of speech, 0..1."""
        vision, speech = self._embedded(crops, mel)
        return (vision * speech).sum(1)

    def _embedded(self, crops: Crops, mel: Tensor) -> tuple[Tensor, Tensor]:
        device = self.network.audio_encoder.conv_in.weight.device
        lower = lower_halves(self.network, crops_to_pixels(crops.to(device)))
        return self.network(on_channels(lower), mel[:, None].to(device))

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy over equal numbers of pairs that belong together and pairs that do not; draws nothing.

        Both windows of a sample are embedded with their sounds, and each window is compared with both sounds.
        """
        mel = torch.cat([batch["mel"], batch["reference_mel"]])
        vision, speech = self._embedded(torch.cat([batch["frames"], batch["reference"]]), mel)
        exchanged = speech.roll(len(speech) // 2, dims=0)
        vision, speech = vision.repeat(2, 1), torch.cat([speech, exchanged])
        together = torch.arange(len(vision), device=vision.device) < len(mel)
        total = sync_loss(vision, speech, together)
        right = ((vision * speech).sum(1) > LEAST_COSINE) == together
        return total, {"accuracy": right.float().mean()}

    def validate(self, batches: Iterable[dict[str, Tensor]], generator: torch.Generator) -> dict[str, float]:
        """Share of pairs that are classified correctly, and how often a sound is closer to its own window."""
        near, far = [], []
        with torch.no_grad():
            for batch in batches:
                near.append(self.cosines(batch["frames"], batch["mel"]).cpu())
                far.append(self.cosines(batch["reference"], batch["mel"]).cpu())
        near, far = torch.cat(near), torch.cat(far)
        right = torch.cat([near > LEAST_COSINE, far <= LEAST_COSINE])
        return {"accuracy": float(right.float().mean()), "true_is_nearer": float((near > far).float().mean())}

    def pictures(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, np.ndarray]:
        """The first window as the network sees it."""
        lower = lower_halves(self.network, crops_to_pixels(batch["frames"][:1]))[0]
        return {"window": rearrange(pixels_to_crops(lower), "f c h w -> h (f w) c").numpy()}

    def export(self, folder: Path) -> None:
        """Writes `syncnet/`: weights and configuration."""
        target = folder / SYNCNET_FOLDER
        target.mkdir(parents=True)
        save_file(plain_tensors(self.network), target / WEIGHTS_FILE)
        (target / CONFIG_FILE).write_text(json.dumps(self.config, indent=2) + "\n")


class SyncJudge:
    """A trained, frozen SyncNet that measures how badly windows of generated faces match their sound.

    Args:
        num_frames: of the windows.

    Raises:
        OptionError: the network takes windows of another length.
    """

    def __init__(self, network: StableSyncNet, num_frames: int) -> None:
        check_num_frames(network, num_frames)
        self.network = network.eval().requires_grad_(False)

    def to(self, device: torch.device) -> None:
        self.network.to(device)

    def loss(self, faces: Faces, mel: Float[Tensor, "b 80 m"]) -> Tensor:
        """Cross-entropy of the cosines with 1, on the lower halves of the faces, as in the original."""
        vision, speech = self.network(on_channels(lower_halves(self.network, faces)), mel[:, None])
        return sync_loss(vision, speech, torch.ones(len(faces), device=vision.device))


def check_num_frames(network: StableSyncNet, num_frames: int) -> None:
    """Refuses windows of another length than the network's.

    Raises:
        OptionError: the lengths differ; the message names both.
    """
    channels = network.visual_encoder.conv_in.in_channels
    if channels != 3 * num_frames:
        raise OptionError(
            f"task.num_frames is {num_frames}; the network takes {channels} channels, so windows must have "
            f"{channels // 3} frames"
        )


def load_judge(model_dir: str | Path, num_frames: int) -> SyncJudge:
    """The trained SyncNet of a model folder, as a judge of windows of num_frames.

    Raises:
        OptionError: the model has no trained SyncNet, or it takes windows of another length.
        WeightsError: its weights do not fit.
    """
    try:
        return SyncJudge(load_trained_syncnet(model_dir), num_frames)
    except UntrainedError as error:
        raise OptionError(f"{error}, or train without its loss: task.sync_weight=0") from error


def make(
    settings: dict[str, Any], data_dir: Path, model_dir: str | Path, seed: int
) -> tuple[SyncNetTask, Dataset, Dataset]:
    """The task and its training and validation sets; see `unet.make`."""
    options = read_settings(SyncNetSettings, settings)
    with torch.random.fork_rng(devices=[]):  # fresh weights are the same for the same seed
        torch.manual_seed(seed)
        task = SyncNetTask(*load_own_syncnet(model_dir), options)
    train, held_out = split(find_clips(data_dir), options.held_out_share, seed)
    gap = options.gap_frames + 1 - options.num_frames  # between frames, of windows that begin gap_frames apart
    common = {"num_frames": options.num_frames, "reference_gap_frames": gap, "seed": seed}
    train_set = WindowSet(train, flip=options.flip, colour_jitter=options.colour_jitter, **common)
    return task, train_set, WindowSet(held_out, **common)
