"""Scaled dot-product attention with one interface: torch's own by default, xformers on request.

Only this module knows attention backends. All other code calls `attend` or has an `Attention` layer.
"""

import contextlib
import importlib
import io
import logging
import warnings
from functools import cache

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

from latentsync.config import ATTENTION_BACKENDS
from latentsync.errors import OptionError
from latentsync.unet.savings import Saving, joined

SHORT_PRODUCT = 128 * 128  # queries times keys of a head; up to this number a CPU trains faster with the plain formula


@cache
def _xformers_attention():
    """xformers' attention function; its notices about missing extensions are hidden."""
    logging.getLogger("xformers").setLevel(logging.ERROR)
    noise = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(noise), contextlib.redirect_stderr(noise):
        warnings.simplefilter("ignore")
        return importlib.import_module("xformers.ops").memory_efficient_attention


def check_backend(name: str, device: torch.device | str) -> None:
    """Refuses a backend that is unknown or cannot run on the device.

    Raises:
        OptionError: the message names the backend, and sdpa, which runs everywhere.
    """
    if name not in ATTENTION_BACKENDS:
        raise OptionError(f"attention backend {name!r} is unknown; choose one of {', '.join(ATTENTION_BACKENDS)}")
    if name == "sdpa":
        return
    if torch.device(device).type != "cuda":
        raise OptionError(f"attention=xformers needs an NVIDIA GPU, but the device is {device}; use attention=sdpa")
    try:
        _xformers_attention()
    except (ImportError, OSError) as error:
        raise OptionError(
            f"attention=xformers cannot be loaded ({type(error).__name__}: {error}); "
            f"install it with `pip install 'latentsync-lab[gpu]'`, or use attention=sdpa"
        ) from error


def attend(query: Tensor, key: Tensor, value: Tensor, backend: str = "sdpa") -> Tensor:
    """softmax(q k^T / sqrt(head width)) v.

    Args:
        query: (batch, heads, n, head width); key, value: (batch, heads, m, head width).
    """
    if backend == "xformers":
        query, key, value = (rearrange(x, "b h n d -> b n h d").contiguous() for x in (query, key, value))
        return rearrange(_xformers_attention()(query, key, value), "b n h d -> b h n d")
    if _is_short_training_on_cpu(query, key):
        weights = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        return weights.softmax(-1) @ value
    return scaled_dot_product_attention(query, key, value)


def _is_short_training_on_cpu(query: Tensor, key: Tensor) -> bool:
    """Whether the plain formula is faster: the backward pass of torch's fused CPU kernel is slow on short rows."""
    is_trained = torch.is_grad_enabled() and query.requires_grad
    return is_trained and query.device.type == "cpu" and query.shape[-2] * key.shape[-2] <= SHORT_PRODUCT


class Attention(nn.Module, Saving):
    """Multi-head attention with Stable Diffusion's parameter names.

    `to_q`, `to_k`, `to_v` have no bias, `to_out.0` has one.

    Args:
        dim: width of the tokens.
        heads: number of heads; the head width is dim / heads.
        context_dim: width of the attended tokens; by default `dim`.
    """

    def __init__(self, dim: int, heads: int, context_dim: int | None = None) -> None:
        super().__init__()
        if dim % heads:
            raise OptionError(f"attention of width {dim} cannot be split into {heads} heads; choose a divisor")
        self.heads = heads
        self.backend = "sdpa"
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_k = nn.Linear(context_dim or dim, dim, bias=False)
        self.to_v = nn.Linear(context_dim or dim, dim, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])

    def forward(self, tokens: Tensor, context: Tensor | None = None) -> Tensor:
        """tokens (batch, n, dim), context (batch, m, context_dim) -> (batch, n, dim)."""
        if context is not None:
            return self.attend_to(tokens, self.keys_and_values(context))
        query, key, value = self._projections(tokens, [self.to_q, self.to_k, self.to_v])
        return self._output(query, key, value)

    def keys_and_values(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """What queries attend to, (batch, heads, m, head width) each."""
        return tuple(self._projections(context, [self.to_k, self.to_v]))

    def attend_to(self, tokens: Tensor, keys_and_values: tuple[Tensor, Tensor]) -> Tensor:
        """The same as `forward`, with `keys_and_values` of the context."""
        return self._output(*self._projections(tokens, [self.to_q]), *keys_and_values)

    def _projections(self, tokens: Tensor, layers: list[nn.Linear]) -> list[Tensor]:
        """The tokens after each of the layers, (batch, heads, n, head width)."""
        can_join = len(layers) > 1 and all(layer.bias is None for layer in layers)
        if can_join and self.saves("joint_projections", tokens):
            projected = linear(tokens, joined([layer.weight for layer in layers])).chunk(len(layers), dim=-1)
        else:
            projected = [layer(tokens) for layer in layers]
        return [rearrange(x, "b n (h d) -> b h n d", h=self.heads) for x in projected]

    def _output(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return self.to_out[0](rearrange(attend(query, key, value, self.backend), "b h n d -> b n (h d)"))


def set_backend(model: nn.Module, name: str, device: torch.device | str) -> None:
    """Makes every `Attention` of the model use the backend.

    Raises:
        OptionError: the backend cannot run on the device.
    """
    check_backend(name, device)
    for module in model.modules():
        if isinstance(module, Attention):
            module.backend = name


def backend_of(model: nn.Module) -> str:
    """The backend of the model's attention layers."""
    return next(module.backend for module in model.modules() if isinstance(module, Attention))
