"""A training that takes no time: a network that learns the frequency of waves."""

import random

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from latentsync.training import loop
from latentsync.training.journal import Journal
from latentsync.training.loop import train
from latentsync.training.options import LoopOptions

ITEMS = 11  # shares no divisor with the batch sizes, so batches lie across the ends of epochs


class Waves(torch.utils.data.Dataset):
    """Short noisy sine waves with their frequency; the noise comes from all three global generators."""

    def __len__(self):
        return ITEMS

    def __getitem__(self, index):
        frequency = 0.2 + index / ITEMS
        wave = torch.sin(torch.arange(16) * frequency)
        noise = torch.randn(16) + random.random() + torch.from_numpy(np.random.rand(16)).float()  # noqa: S311 - numbers for a test
        return {"wave": wave + 0.1 * noise, "frequency": torch.tensor(frequency), "index": index}


class FrequencyTask:
    """Learns the frequency of a wave with all that keeps state or draws: batch norm, dropout, noise of a generator."""

    def __init__(self, at_step=None):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            self.net = nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.SiLU(), nn.Linear(8, 1))
            self.scale = nn.Linear(1, 1)
        self.at_step, self.calls, self.seen, self.generators = at_step or {}, 0, [], []

    def networks(self):
        return {"net": self.net, "scale": self.scale}

    def loss(self, batch, generator):
        self.calls += 1
        self.seen.append(batch["index"].tolist())
        if self.calls in self.at_step:
            self.at_step[self.calls](batch)
        wave = batch["wave"] + 0.1 * torch.randn(batch["wave"].shape, generator=generator).to(batch["wave"].device)
        error = (self.scale(self.net(wave))[:, 0] - batch["frequency"]).square().mean()
        size = 0.01 * self.net[0].weight.square().mean()
        return error + size, {"error": error, "size": size}

    def validate(self, batches, generator):
        assert not self.net.training and not torch.is_grad_enabled()
        errors = [self.scale(self.net(batch["wave"]))[:, 0] - batch["frequency"] for batch in batches]
        return {"mse": torch.cat(errors).square().mean().item(), "draw": torch.rand(1, generator=generator).item()}

    def pictures(self, batch, generator):
        shade = (255 * self.net(batch["wave"]).sigmoid()).to(torch.uint8)
        return {"guess": shade.float().numpy().astype(np.uint8)[:, :, None].repeat(3, 2)}

    def videos(self, batch, generator):
        shades = torch.rand(5, generator=generator).mul(255).to(torch.uint8)
        return {"noise": shades[:, None, None, None].expand(5, 16, 32, 3).numpy()}

    def export(self, folder):
        save_file({name: value.clone() for name, value in self.net.state_dict().items()}, folder / "net.safetensors")


OPTIONS = LoopOptions(
    steps=10, batch_size=3, learning_rate=0.03, warmup_steps=3, schedule="cosine", gradient_accumulation=2,
    precision="float32", ema_decay=0.9, log_every=1, validate_every=2, save_every=3, seed=5,
)  # fmt: skip


def run(folder, options=OPTIONS, task=None, **kwargs):
    return train(task or FrequencyTask(), Waves(), Waves(), options, folder, **kwargs)


def curve(folder):
    """What was logged, but for the time it took."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in Journal(folder / loop.LOG_FILE).rows()]


class PlainTask(FrequencyTask):
    """Without anything that depends on how a batch is shared out."""

    def __init__(self):
        super().__init__()
        self.net[1], self.net[2] = nn.Identity(), nn.Identity()

    def loss(self, batch, generator):
        error = (self.scale(self.net(batch["wave"]))[:, 0] - batch["frequency"]).square().mean()
        return error, {"error": error}


def plain_run(folder, batch_size, gradient_accumulation=1):
    options = LoopOptions(
        steps=4, batch_size=batch_size, gradient_accumulation=gradient_accumulation, learning_rate=0.03, log_every=1,
        validate_every=2, save_every=2, ema_decay=0.9, precision="float32",
    )  # fmt: skip
    train(PlainTask(), Waves(), Waves(), options, folder)
