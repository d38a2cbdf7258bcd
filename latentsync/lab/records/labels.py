"""What a record is called where people read it: its pair, its guidance, steps and seed, and every unusual option.

All words come from the options' own metadata, see `latentsync.option.OptionInfo`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from latentsync.config import recorded_infos
from latentsync.option import NOT_USED, OptionInfo

SETTINGS = ("guidance_scale", "num_inference_steps", "seed")  # which every label names
OTHER_WORDS = {"preset": "preset", "model": "model"}  # columns of a table that are no options


def settings_beside() -> dict[str, OptionInfo]:
    """The options beside guidance, steps and seed that make one result differ from another, by name."""
    return {
        name: info
        for name, info in recorded_infos().items()
        if name not in SETTINGS and info.in_identity != "never"
    }  # fmt: skip


def word_of(column: str) -> str:
    """The heading of a table's column: an option's word, else the column's name."""
    infos = recorded_infos()
    return infos[column].word if column in infos else OTHER_WORDS.get(column, column)


def pair_label(pair: str) -> str:
    """`g-clara__g-clara` -> "g-clara, own voice"; the two names one above the other where they differ."""
    clip, _, voice = pair.partition("__")
    return f"{clip}, own voice" if clip == voice else f"{clip}\n{voice}"


def departures(
    options: Mapping[str, Any], also: Iterable[str] = (), model: Mapping[str, Any] | None = None
) -> list[str]:
    """The unusual options in words: ["dpmpp_2m", "cosine guidance"].

    Args:
        options: by name, as a record's or a table's row.
        also: columns that are named even where their value is usual, since a table differs in them.
        model: the model's own values, which are the usual ones of the options that it decides.
    """
    also, model, words = set(also), model or {}, []
    if "model" in also and "model" in options:
        words.append(str(options["model"]))
    for name, info in settings_beside().items():
        if name not in options or info.cell(options[name]) == NOT_USED:
            continue
        value = options[name]
        if name in also or info.departs(value) or (name in model and model[name] != value):
            words.append(info.text(value))
    return words


def cell_label(options: Mapping[str, Any], also: Iterable[str] = (), model: Mapping[str, Any] | None = None) -> str:
    """`guidance 1.8, 20 steps, seed 1247, dpmpp_2m`; arguments as of `departures`."""
    infos = recorded_infos()
    return ", ".join([*(infos[name].text(options[name]) for name in SETTINGS), *departures(options, also, model)])


def varied(table: pd.DataFrame) -> list[str]:
    """The columns beside guidance, steps and seed that tell settings apart; no mean may go over them.

    An option whose open value follows from the pair counts only where it differs within one pair.
    """
    names = []
    for name in ("model", *settings_beside()):
        if name not in table or table[name].nunique(dropna=False) < 2:
            continue
        info = settings_beside().get(name)
        if info is not None and info.by_pair:
            if table.groupby(["clip", "voice"])[name].nunique().max() > 1:
                names.append(name)
        else:
            names.append(name)
    return names


def run_name(content: Mapping[str, Any]) -> str:
    """`g-clara__g-clara g1.8 s20 seed1247`."""
    options = content["options"]
    settings = f"g{options['guidance_scale']:g} s{options['num_inference_steps']} seed{options['seed']}"
    return " ".join([content["pair"]["name"], settings, *departures(options, model=content["model"])])
