"""Starts a run from a record: `latentsync run from=ID sampler.guidance_scale=1.8`.

The record's clip and voice, its model and every option that differs from the configuration become overrides. What the
command line gives itself wins. The pair is written as a list, RUNS/from/ID.csv, which the run then reads.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override

from latentsync.config import SECTIONS, RuntimeOptions
from latentsync.errors import OptionError, WeightsError
from latentsync.files import write_text
from latentsync.lab.jobs.maker import shipped_model
from latentsync.lab.options.compose import RUN, composed, composing, configured, loader, parsed
from latentsync.lab.options.literal import literal
from latentsync.lab.options.schema import RunConfig, all_values, options_like, read_config
from latentsync.lab.options.sources import CommandLine, read_command_line
from latentsync.lab.options.typed import dotted, spelled
from latentsync.lab.records.identity import short_text
from latentsync.lab.records.inputs import input_file
from latentsync.lab.records.store import Record, RecordStore, record_at
from latentsync.names import is_plain, named_text
from latentsync.option import section_infos

KEY = "from="
LISTS_DIR = "from"  # of a runs folder
OF_THE_PAIRS = ("data", "data.input_dir", "data.list", "data.pairing", "data.split")  # overrides that choose pairs
GUIDANCE = "sampler.guidance_scale"
OF_THE_MODEL = (  # options that the model decides, by their names in a record
    ("num_frames", ("sampler", "num_frames")),
    ("mask", ("video", "mask")),
    ("size_px", ("video", "width")),
    ("size_px", ("video", "height")),
)
REMEDY = "give a pair with data=list data.list=PAIRS.csv, or a folder with data=folder data.input_dir=DIR"


@dataclass(frozen=True)
class Origin:
    """A command line that starts from a record.

    Attributes:
        record: the record.
        arguments: the command line, with overrides in the place of `from=`.
        weights_sha256: what the model's weights must be; None if the command line names a model of its own, or the
            record does not say.
    """

    record: Record
    arguments: list[str]
    weights_sha256: Mapping[str, str] | None

    def require_weights(self, config: RunConfig) -> None:
        """Loads the model, and refuses one with other weights than the record's.

        Raises:
            WeightsError: naming the network and both hashes.
        """
        from latentsync.lab.cells.loading import pipeline_of  # with torch

        if self.weights_sha256 is None:
            return
        hashes = pipeline_of(config).weight_hashes
        for name in sorted({*hashes, *self.weights_sha256}):
            then, now = self.weights_sha256.get(name), hashes.get(name)
            if then != now:
                raise WeightsError(
                    f"the {name} of record {self.record.id} had the hash {short_text(then)}, and that of its model "
                    f"is {short_text(now)} now; give the model of then, or take this one by naming it with model.KEY="
                )


def origin_of(arguments: Sequence[str]) -> Origin:
    """The record that a command line of `latentsync run` starts from, and the command line without `from=`.

    Raises:
        OptionError: `from=` is given twice or with an experiment, there is no such record, or the record's model is
            nowhere to be found.
        MediaError: the clip or the voice is gone or was changed, or the record is damaged.
    """
    given = [argument for argument in arguments if argument.startswith(KEY)]
    place = given[0].removeprefix(KEY).strip("'\"")
    if len(given) > 1 or ("," in place and not Path(place).exists()):
        raise OptionError(f"{' '.join(given)} names several records; start one run from each")
    others = [argument for argument in arguments if argument not in given]
    line = read_command_line(literal(others, RUN.texts))
    with composing(line.sources):
        overrides = parsed(line.overrides)
        if any(one.key_or_group == "experiment" for one in overrides):
            raise OptionError(f"{given[0]} and an experiment both say what to run; give one of them")
        runs = Path(named_text(_last(overrides, "runs_dir") or composed([]).runs_dir))
        record = record_at(named_text(place) if "/" in place else place, runs)
        own, weights = _overrides_of(record, runs, line, overrides)
    at = list(arguments).index(given[0])
    return Origin(record, [*arguments[:at], *own, *arguments[at + 1 :]], weights)


def run_from(record: str | Path | Record, overrides: Sequence[str] = (), runs: str | Path = "runs") -> Record:
    """Makes the record that differs from another one in some options, or reuses it if it exists.

    Args:
        record: the record to start from: its id, its folder, or the record itself.
        overrides: as for `latentsync run`: "sampler.guidance_scale=1.8".
        runs: the runs folder in which an id is looked for, and to which the new record goes.

    Raises:
        LatentSyncError: as for `origin_of`, or the record cannot be made; the message says why.
    """
    from latentsync.lab.cells.cell import run_cell
    from latentsync.lab.options.pairs import pairs_of

    place = record.folder if isinstance(record, Record) else record
    origin = origin_of([f"{KEY}{place}", *overrides, f"runs_dir={runs}"])
    config = read_config(configured(origin.arguments))
    origin.require_weights(config)
    pairs = pairs_of(config.data).pairs
    if len(pairs) > 1:
        raise OptionError(f"the overrides give {len(pairs)} pairs; give one, or use `latentsync run`")
    (outcome,) = run_cell(config, pairs, lambda _: None)
    if outcome.record is None or outcome.status == "failed":
        raise OptionError(f"the record could not be made ({outcome.stage}): {outcome.reason}")
    return RecordStore(config.runs_dir).find(outcome.record)


def _last(overrides: Iterable[Override], key: str) -> str | None:
    values = [one.value() for one in overrides if one.key_or_group == key]
    return str(values[-1]) if values else None


def _overrides_of(
    record: Record, runs: Path, line: CommandLine, given: Sequence[Override]
) -> tuple[list[str], Mapping[str, str] | None]:
    """The overrides for a record's pair, model and options, and the weights that the model must have."""
    content, keys = record.own_content, {one.key_or_group for one in given}
    has_pairs = any(key in OF_THE_PAIRS for key in keys)
    has_model = any(key == "model" or key.startswith("model.") for key in keys)
    own = [] if has_pairs else ["data=list", f"data.list={_list_of(record, runs)}"]
    own += [] if has_model else _model(content)
    own += _options(content, line, given, has_pairs)
    return literal(own, RUN.texts), None if has_model else content["model"].get("weights_sha256")


def _list_of(record: Record, runs: Path) -> Path:
    """Writes the record's pair as a list, and returns its file."""
    pair = record.own_content["pair"]
    row = {kind: str(input_file(record, kind, None, REMEDY).resolve()) for kind in ("clip", "voice")}
    row |= {name: pair[name] for name in ("gender", "group", "split") if pair.get(name)}
    row |= {"name": pair["name"]} if is_plain(pair["name"]) else {}
    text = io.StringIO()
    table = csv.DictWriter(text, row, lineterminator="\n")
    table.writeheader()
    table.writerow(row)
    path = runs / LISTS_DIR / f"{record.id}.csv"
    if not path.is_file() or path.read_bytes() != text.getvalue().encode():
        write_text(path, text.getvalue())
    return path


def _model(content: Mapping[str, Any]) -> list[str]:
    place = content.get("model_place")
    if place:
        return [f"model.{name}={value}" for name, value in {"pretrained": "null", **place}.items()]
    try:
        return [f"model.pretrained={shipped_model(content)}"]
    except OptionError as error:
        raise OptionError(f"{error}: model.pretrained=FOLDER, or model.pretrained=null model.KEY=FILE") from error


def _options(
    content: Mapping[str, Any], line: CommandLine, given: Sequence[Override], is_other_pair: bool
) -> list[str]:
    """The record's options that differ from the configuration, but for those that the command line sets.

    Those that depend on the pair stay open where the command line gives other pairs.
    """
    options = options_like({"attention": content["attention"], **content["options"]}, RuntimeOptions())
    groups = [one for one in given if loader().is_group(one.key_or_group)]
    usual = all_values(composed([one.input_line for one in groups if not one.is_sweep_override()]))
    taken = {one.key_or_group for one in given} | {key for one in groups for key in _keys_of(one)}
    taken |= {
        dotted(*place) for name, place in OF_THE_MODEL if content["options"].get(name) == content["model"].get(name)
    }
    if any(key == "preset" or key.startswith("preset.") for key in taken):
        taken.add(GUIDANCE)
    overrides = []
    for section, kind in SECTIONS.items():
        for info in section_infos(kind):
            key, value = dotted(section, info.name), getattr(getattr(options, section), info.name)
            is_kept = info.is_recorded and info.in_identity != "never" and key not in taken
            by_pair = info.by_pair or (key == GUIDANCE and content["preset"]["guidance_from"] == "preset")
            if is_kept and not (by_pair and is_other_pair) and _plain(value) != _plain(usual[section][info.name]):
                overrides.append(f"{key}={_plain(value)}")
    return overrides


def _plain(value: Any) -> str:
    """A value as Hydra reads it; a text with commas, such as a point of a face, as a list."""
    return f"[{value}]" if isinstance(value, str) and "," in value else spelled(value)


def _keys_of(group: Override) -> set[str]:
    """The keys that the chosen files of a group set themselves."""
    name = group.key_or_group
    if group.is_delete():
        return set()
    chosen = group.sweep_string_iterator() if group.is_discrete_sweep() else [group.value()]
    return {key for choice in chosen for key in loader().keys_of(name, str(choice))}
