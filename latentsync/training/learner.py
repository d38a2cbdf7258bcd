"""Networks in training, with their optimiser and moving average. Knows no data and no steps."""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, reduce
from torch import nn

from latentsync.errors import OptionError, WeightsError
from latentsync.training import checkpoint
from latentsync.training.ema import MovingAverage, trained_weights
from latentsync.training.options import LoopOptions
from latentsync.training.task import Task


class Learner:
    """A task's networks on the device, their optimiser and their moving average.

    Attributes:
        networks: by name, in float32, the same in every process.
        weights: the trained weights, by name.
        ema: None if the options have no moving average.

    Raises:
        OptionError: no weight requires a gradient, or a network cannot do the gradient checkpointing of the options.
    """

    def __init__(self, task: Task, options: LoopOptions, accelerator: Accelerator) -> None:
        self.options, self.accelerator = options, accelerator
        self.networks = self._placed(task)
        self.weights = trained_weights(self.networks)
        if not self.weights:
            raise OptionError("the task's networks have no weights that require gradients; nothing can be trained")
        self.ema = MovingAverage(self.networks, options.ema_decay) if options.ema_decay else None
        self.optimizer = self._make_optimizer()

    def _placed(self, task: Task) -> dict[str, nn.Module]:
        device, networks = self.accelerator.device, dict(task.networks())
        if hasattr(task, "to"):
            task.to(device)
        for name, network in networks.items():
            nn.Module.to(network, device=device, dtype=torch.float32)
            if self.options.gradient_checkpointing and any(weight.requires_grad for weight in network.parameters()):
                _save_activations(name, network)
        if self.accelerator.num_processes > 1:
            for tensor in checkpoint.network_tensors(networks).values():
                broadcast(tensor)
        return networks

    def _make_optimizer(self) -> torch.optim.Optimizer:
        options, device = self.options, self.accelerator.device
        optimizer = torch.optim.AdamW(
            self.weights.values(),
            lr=options.learning_rate,
            weight_decay=options.weight_decay,
            fused=device.type in ("cuda", "cpu"),
        )
        return self.accelerator.prepare(optimizer)

    # --- a step ---

    def to_training_mode(self) -> None:
        """Puts the networks into training mode."""
        for network in self.networks.values():
            network.train()

    def clip_gradient(self) -> float:
        """Averages the gradient over the processes and clips it to `max_grad_norm`; returns its norm before that."""
        self._average_gradients()
        norm = self.accelerator.clip_grad_norm_(self.weights.values(), self.options.max_grad_norm or math.inf)
        return norm.item()

    def _average_gradients(self) -> None:
        """Replaces the gradient by its mean over the processes.

        DistributedDataParallel cannot do this, because it works with a network's `forward` only: a task may call
        `vae.encode`, or two networks in turn.
        """
        if self.accelerator.num_processes == 1:
            return
        for weight in self.weights.values():
            gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
            weight.grad = reduce(gradient, "mean")

    def descend(self, learning_rate: float) -> None:
        """One step of the optimiser and of the moving average; the gradient is zero afterwards."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.ema is not None:
            self.ema.update()

    # --- use ---

    @contextmanager
    def finished(self) -> Iterator[None]:
        """Inside the block the networks are in their final form: averaged, without dropout and gradients."""
        swapped: AbstractContextManager = nullcontext() if self.ema is None else self.ema.swapped_in()
        for network in self.networks.values():
            network.eval()
        with swapped, torch.no_grad():
            yield

    # --- the state ---

    def snapshot(self, state: dict) -> checkpoint.State:
        """The content of a checkpoint: the tensors, and `state`, the run's own numbers and texts."""
        scaler = self.accelerator.scaler
        return checkpoint.State(
            networks=checkpoint.network_tensors(self.networks),
            ema=None if self.ema is None else self.ema.state_dict(),
            optimizer={
                "optimizer": self.optimizer.state_dict(),
                "scaler": None if scaler is None else scaler.state_dict(),
            },
            state=state,
        )

    def load(self, state: checkpoint.State, source: str) -> None:
        """Loads the tensors of a checkpoint. The options of this run apply, not those in the checkpoint.

        Raises:
            WeightsError: it belongs to other networks, or to a training with other weights frozen.
        """
        checkpoint.load_networks(self.networks, state.networks, source)
        if self.ema is not None and state.ema is not None:
            self.ema.load_state_dict(state.ema)
        elif self.ema is not None:  # the average was off so far, so it starts from these weights
            self.ema = MovingAverage(self.networks, self.options.ema_decay)
        try:
            self.optimizer.load_state_dict(state.optimizer["optimizer"])
        except ValueError as error:
            raise WeightsError(
                f"{source} was trained with other weights frozen ({error}); train these in a folder of their own"
            ) from error
        for group in self.optimizer.param_groups:
            group["weight_decay"] = self.options.weight_decay
        if self.accelerator.scaler is not None and state.optimizer["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state.optimizer["scaler"])


def _save_activations(name: str, network: nn.Module) -> None:
    try:
        network.enable_gradient_checkpointing()
    except (AttributeError, ValueError) as error:
        raise OptionError(
            f"gradient_checkpointing is on, but the network {name} cannot do it; set loop.gradient_checkpointing=false"
        ) from error
