"""What is trained: the protocol between a task and the training loop."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

LOSS = "loss"  # name of the whole loss in the log; no part may have it


class Task(Protocol):
    """What is trained, and how. It keeps nothing that changes from step to step outside its networks.

    A task with frozen networks has a method `to(device)` too, which is called once. One with something that moves has a
    method `videos(batch, generator)` like `pictures`: named uint8 videos `f h w 3` of 25 frames a second.
    """

    def networks(self) -> dict[str, nn.Module]:
        """The trained networks by name; parameters without `requires_grad` stay as they are."""

    def loss(self, batch: Any, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean loss of a batch that is on the device, and its named parts for the log.

        Args:
            generator: on the CPU; all random numbers come from it (draw there, then move).
        """

    def validate(self, batches: Iterable, generator: torch.Generator) -> dict[str, float]:
        """Named figures of the validation set; without gradients, on averaged weights where there are such."""

    def pictures(self, batch: Any, generator: torch.Generator) -> dict[str, np.ndarray]:
        """Named uint8 pictures `h w 3` of the first validation batch."""

    def export(self, folder: Path) -> None:
        """Writes finished weights into an empty folder."""
