"""The protocol between a task and the training loop."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

LOSS = "loss"  # name of the whole loss in the log; no part may have it


class Task(Protocol):
    """Defines what is trained, and how. Only its networks may change from step to step.

    Two methods are optional. `to(device)` is called once, to move frozen networks. `videos(batch, generator)` is like
    `pictures`: named uint8 videos `f h w 3` of 25 frames a second.
    """

    def networks(self) -> dict[str, nn.Module]:
        """The trained networks by name; parameters without `requires_grad` stay as they are."""

    def loss(self, batch: Any, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean loss of a batch that is on the device, and its named parts for the log.

        Args:
            generator: on the CPU. All random numbers come from it: draw on the CPU, then move them.
        """

    def validate(self, batches: Iterable, generator: torch.Generator) -> dict[str, float]:
        """Named figures of the validation set. Called without gradients, with averaged weights if there are any."""

    def pictures(self, batch: Any, generator: torch.Generator) -> dict[str, np.ndarray]:
        """Named uint8 pictures `h w 3` of the first validation batch."""

    def export(self, folder: Path) -> None:
        """Writes the trained weights into an empty folder."""
