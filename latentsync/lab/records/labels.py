"""What a cell is called where people read it: guidance, steps, seed, and whatever else departs from the default."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from latentsync.config import SamplerOptions

# Options that records made before they came do not have: those were made with the defaults.
SAMPLING = ("deepcache_interval", "scheduler", "guidance_schedule", "guidance_mask")


def pair_label(pair: str) -> str:
    """`g-clara__g-clara` -> "g-clara, own voice"; the two names one above the other where they differ."""
    clip, _, voice = pair.partition("__")
    return f"{clip}, own voice" if clip == voice else f"{clip}\n{voice}"


def sampling_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """How a record was sampled beside guidance, steps and seed."""
    return {name: options.get(name, getattr(SamplerOptions, name)) for name in SAMPLING}


def departures(options: Mapping[str, Any]) -> list[str]:
    """The parts of `sampling_of` that are not the default: ["dpmpp_2m", "cosine guidance"]."""
    words = {
        "deepcache_interval": "DeepCache {}",
        "scheduler": "{}",
        "guidance_schedule": "{} guidance",
        "guidance_mask": "guidance in the {}",
    }
    told = sampling_of(options)
    return [words[name].format(told[name]) for name in SAMPLING if told[name] != getattr(SamplerOptions, name)]


def cell_label(guidance_scale: float, num_inference_steps: int, seed: int, options: Mapping[str, Any]) -> str:
    """`guidance 1.8, 20 steps, seed 1247, dpmpp_2m`; of the options only departures are told."""
    return ", ".join(
        [f"guidance {guidance_scale:g}", f"{num_inference_steps} steps", f"seed {seed}", *departures(options)]
    )


def varied(table: pd.DataFrame) -> list[str]:
    """The columns of `SAMPLING` in which records of a table differ; they are not to be averaged over."""
    return [name for name in SAMPLING if name in table and table[name].nunique() > 1]


def run_name(content: dict) -> str:
    """`g-clara__g-clara g1.8 s20 seed1247`."""
    options = content["options"]
    settings = f"g{options['guidance_scale']:g} s{options['num_inference_steps']} seed{options['seed']}"
    return " ".join([content["pair"]["name"], settings, *departures(options)])
