"""All options of `latentsync run` in words, from their metadata: as help in the terminal, and as docs/options.md."""

import re
import shutil
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import MISSING as NOT_GIVEN
from omegaconf import DictConfig

from latentsync.lab.options import CONF_DIR
from latentsync.lab.options.compose import check_names, composed, composing, loader, refuse_several_values
from latentsync.lab.options.schema import KINDS, all_values
from latentsync.lab.options.sources import read_command_line
from latentsync.lab.options.typed import dotted, spelled
from latentsync.metrics.definitions import INSTALLED
from latentsync.option import OptionInfo, section_infos

MAX_WIDTH, MIN_WIDTH = 100, 40
FLAGS = {
    "-m, --multirun": "runs a sweep: values with commas between them are combined with each other.",
    "--config-dir DIR": "looks for configurations in this folder, too.",
    "--config-name NAME": "starts from NAME.yaml instead of config.yaml.",
    "--config-path DIR": "looks in this folder instead of conf/ (an absolute path).",
    "--cfg job [--resolve]": "shows the composed configuration, and runs nothing.",
    "--info defaults": "shows which files it comes from.",
}
PAGE = """# Options

```sh
latentsync run sampler.guidance_scale=1.8 sampler.num_inference_steps=20 video.crf=18
latentsync run --help
```

Every option of `latentsync run`, with its default. The same options are keywords of the pipeline, without their
section: `pipe(clip, voice, guidance_scale=1.8)`. `null` leaves an option open; the table says what fills it in. The
filled-in values are printed and recorded. This page is written by `latentsync pictures options`.

## Groups

`GROUP=CHOICE` sets several options at once, from the file `conf/GROUP/CHOICE.yaml`. A bold choice is the default.

"""


def run_help(arguments: Iterable[str]) -> str:
    """The groups and options of `latentsync run`, with the values that its other arguments give them.

    Raises:
        OptionError: one of the other arguments is wrong.
    """
    line = read_command_line([argument for argument in arguments if argument not in ("-h", "--help")])
    with composing(line.sources):
        check_names(line.overrides)
        refuse_several_values(line.overrides, "help shows one configuration; give one")
        config = composed(line.overrides)
        choices = {group: loader().choices(group) for group in loader().groups() if group != "hydra"}
        return _terminal_text(config, choices)


def train_help(arguments: Iterable[str]) -> str:
    """The trainings and the options of one of them, `train=vae` by default, as the files of conf/ explain them."""
    given = dict(argument.partition("=")[::2] for argument in arguments)
    paths = sorted((CONF_DIR / "train").glob("*.yaml"))
    chosen = next((path for path in paths if path.stem == given.get("train")), CONF_DIR / "train" / "vae.yaml")
    lines = ["train=CHOICE, one of:", *(f"  {path.stem:<14}{_about(path)}" for path in paths), ""]
    trackers = ", ".join(sorted(path.stem for path in (CONF_DIR / "tracker").glob("*.yaml")))
    lines += [f"tracker=CHOICE, one of: {trackers}", "", f"Options of train={chosen.stem}, as KEY=VALUE:", ""]
    for path in (CONF_DIR / "train_config.yaml", chosen):
        text = path.read_text(encoding="utf-8").partition("\nhydra:")[0]
        lines += [line for line in text.splitlines() if line and not line.startswith(("#", "defaults:", "  - "))]
    return "\n".join(lines)


def _terminal_text(config: DictConfig, choices: dict[str, list[str]]) -> str:
    width = min(MAX_WIDTH, max(MIN_WIDTH, shutil.get_terminal_size().columns))
    lines = [_heading("Flags", "before or after the options", width)]
    for flag, text in FLAGS.items():
        lines += _entry(flag, text, width)
    lines += ["", _heading("Groups", "GROUP=CHOICE sets several options at once", width)]
    for group, names in choices.items():
        chosen = config.hydra.runtime.choices.get(group)
        others = ", ".join(name for name in names if name != chosen)
        lines += _entry(f"{group}={plain(chosen)}", f"or {others}" if others else "the only one", width)
    values = all_values(config)
    for name, kind in KINDS.items():
        lines += ["", _heading(name or "general", f"{kind.__doc__}", width)]
        for info in section_infos(kind):
            value = values.get(name, {}).get(info.name, info.default)
            lines += _entry(f"{dotted(name, info.name)}={plain(value)}", info.explained, width)
    return "\n".join(lines)


def _heading(name: str, text: str, width: int) -> str:
    return textwrap.fill(f"{name}: {text}", width)


def _entry(name: str, text: str, width: int) -> list[str]:
    """An option, and what it does, on the lines below; both on one line where they fit."""
    if len(name) < 24 and len(text) <= width - 28:
        return [f"  {name:<24}  {text}"]
    return [f"  {name}", textwrap.fill(text, width, initial_indent=" " * 6, subsequent_indent=" " * 6)]


def plain(value: Any) -> str:
    """A value as it stands on the command line."""
    return "VALUE" if value == NOT_GIVEN else spelled(value)


def options_page() -> str:
    """docs/options.md."""
    with composing():
        config = composed([])
        parts = [PAGE, *_group_tables(config)]
        values = all_values(config)
    for name, kind in KINDS.items():
        parts.append(f"\n## {name or 'general'}\n\n{kind.__doc__}\n\n")
        parts += _table(
            ("option", "default", "what it does", "unit", "allowed", "source"),
            (
                _row(name, info, values.get(name, {}).get(info.name, info.default))
                for info in section_infos(kind)
                if not (name == "metrics" and info.name in INSTALLED)
            ),
        )
    return "".join(parts)


def _row(section: str, info: OptionInfo, value: Any) -> tuple[str, ...]:
    info = replace(info, plugins="")  # the page does not depend on what this machine has installed
    text = info.help if info.help.endswith(".") else f"{info.help}."
    return f"`{dotted(section, info.name)}`", f"`{plain(value)}`", text, info.unit, info.wanted, _linked(info.source)


def _linked(source: str) -> str:
    return re.sub(r"arXiv (\d{4}\.\d{5})", r"[arXiv \1](https://arxiv.org/abs/\1)", source)


def _group_tables(config: DictConfig) -> Iterator[str]:
    rows = []
    for group in loader().groups():
        if group in ("hydra", "local"):  # the page does not depend on conf/local either
            continue
        for choice in loader().choices(group):
            is_default = config.hydra.runtime.choices.get(group) == choice
            name = f"`{group}={choice}`"
            rows.append((f"**{name}**" if is_default else name, _about(CONF_DIR / group / f"{choice}.yaml")))
    yield from _table(("choice", "what it is"), rows)


def _about(path: Path) -> str:
    """The comment at the beginning of a configuration."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line.removeprefix("#").strip())
    return " ".join(lines)


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |\n"
    yield f"|{' --- |' * len(heads)}\n"
    for row in rows:
        yield f"| {' | '.join(row)} |\n"
