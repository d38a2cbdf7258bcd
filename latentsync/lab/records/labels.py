"""Labels of records for people: the pair, guidance, steps and seed, and every option with an unusual value.

The words come from the metadata of the options, and from the definitions of the metrics; see
`latentsync.option.OptionInfo` and `latentsync.metrics.definitions`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from latentsync.config import recorded_infos
from latentsync.metrics.definitions import WORDS, base_name, word_of_metric
from latentsync.option import NOT_USED, OptionInfo

if TYPE_CHECKING:
    import pandas as pd

SETTINGS = ("guidance_scale", "num_inference_steps", "seed")  # every label has these


@cache
def settings_beside() -> Mapping[str, OptionInfo]:
    """The other options that can change a result (all but guidance, steps and seed), by name."""
    return {
        name: info
        for name, info in recorded_infos().items()
        if name not in SETTINGS and info.in_identity != "never"
    }  # fmt: skip


def word_of(column: str) -> str:
    """The heading of a table's column: the word of its metric or option, or else the column's name."""
    if base_name(column) in WORDS:
        return word_of_metric(column)
    infos = recorded_infos()
    return infos[column].word if column in infos else column


def missing_lines(missing: Iterable[tuple[str, str]], noun: str = "record") -> list[str]:
    """One line for each metric and reason, with the number of records that lack the metric for it.

    Reasons that differ only in their numbers count as one, and the most frequent is shown.

    Args:
        missing: (metric, reason) of each missing value.
        noun: what lacks them.
    """
    alike: dict[tuple[str, str], Counter[str]] = {}
    for metric, reason in missing:
        alike.setdefault((word_of(metric), re.sub(r"\d+", "0", reason)), Counter())[reason] += 1
    lines = []
    for (word, _), reasons in sorted(alike.items()):
        number, (reason, _) = reasons.total(), reasons.most_common(1)[0]
        records = f"{number} {noun}s" if number > 1 else f"1 {noun}"
        others = " (the numbers differ)" if len(reasons) > 1 else ""
        lines.append(f"- {word} is missing in {records}: {reason}{others}")
    return lines


def pair_label(pair: str) -> str:
    """`g-clara__g-clara` -> "g-clara, own voice". If the names of clip and voice differ, each gets a line.

    A pair with a name of its own keeps it.
    """
    clip, separator, voice = pair.partition("__")
    if not separator:
        return pair
    return f"{clip}, own voice" if clip == voice else f"{clip}\n{voice}"


def pair_words(pair: str) -> str:
    """`pair_label` in one line: "g-clara, own voice", or "g-clara, voice g-weather"."""
    return pair_label(pair).replace("\n", ", voice ")


def departures(
    options: Mapping[str, Any], also: Iterable[str] = (), model: Mapping[str, Any] | None = None
) -> list[str]:
    """The unusual options in words: ["dpmpp_2m", "cosine guidance"].

    Args:
        options: values by name, from a record or a row of a table.
        also: columns to name even if their value is usual, because they vary within the table.
        model: the model's own values: the usual values of the options that the model decides.
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
    """`guidance 1.8, 20 steps, seed 1247, dpmpp_2m`; arguments as of `departures`. Open settings are left out."""
    infos = recorded_infos()
    settings = [infos[name].text(options[name]) for name in SETTINGS if options[name] is not None]
    return ", ".join([*settings, *departures(options, also, model)])


def varied(table: "pd.DataFrame") -> list[str]:
    """The columns, besides guidance, steps and seed, that vary in a table. No mean may mix their values.

    An option whose default depends on the pair counts only if it varies within one pair. Pairs of one clip and voice
    whose list chooses several faces have different names.
    """
    infos = settings_beside()
    pair = [name for name in ("clip", "voice", "pair") if name in table]
    names = [name for name in ("model", *infos) if name in table and table[name].nunique(dropna=False) > 1]
    return [
        name
        for name in names
        if name == "model" or not infos[name].by_pair or table.groupby(pair)[name].nunique().max() > 1
    ]


def run_name(content: Mapping[str, Any]) -> str:
    """`g-clara__g-clara g1.8 s20 seed1247`."""
    options = content["options"]
    settings = f"g{options['guidance_scale']:g} s{options['num_inference_steps']} seed{options['seed']}"
    return " ".join([content["pair"]["name"], settings, *departures(options, model=content["model"])])
