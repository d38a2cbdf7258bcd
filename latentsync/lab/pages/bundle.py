"""The front end's files: plain ES modules, styles and templates, served as they are or joined into one script.

A page that is one file, and a notebook's widget, cannot import a module from beside it. For them `script` puts a module
and what it imports into one text: each imported module becomes a function whose exports are its result.
"""

import re
from pathlib import Path

FRONT_DIR = Path(__file__).with_name("front")
IMPORT = re.compile(r'^import \{ ([\w, ]+) \} from "\./([\w/]+)\.js";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async function|function|class|const) (\w+))", re.MULTILINE)
OTHER = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


def page_file(name: str) -> str:
    """The text of a file of the front end, by its name in that folder."""
    return (FRONT_DIR / name).read_text(encoding="utf-8")


def script(entry: str) -> str:
    """One script with a module and all that it imports, each module once and before those that need it.

    A module imports by `import { a, b } from "./name.js";` alone, one line each, and exports by `export` before a
    function, class or const. The entry keeps its exports: a script that exports is a module for a notebook's widget.

    Args:
        entry: the module's file name, such as "report.js".

    Raises:
        ValueError: a module imports or exports in another way, or modules import each other in a circle.
    """
    order: dict[str, None] = {}
    _visit(Path(entry).stem, order, ())
    *needed, last = order
    return "\n".join([*map(_wrapped, needed), _linked(last)])


def _visit(module: str, order: dict[str, None], above: tuple[str, ...]) -> None:
    """Adds a module to the order, after those that it imports."""
    if module in above:
        raise ValueError(
            f"{' -> '.join([*above, module])} is a circle of imports; move what both need to a third module"
        )
    if module not in order:
        for _, other in IMPORT.findall(page_file(f"{module}.js")):
            _visit(other, order, (*above, module))
        order[module] = None


def _wrapped(module: str) -> str:
    """A module as a function that returns its exports."""
    text = _linked(module)
    names = ", ".join(match[1] for match in EXPORT.finditer(text))
    return f"const {_name(module)} = (() => {{\n{_plain(EXPORT.sub('', text), module)}return {{ {names} }};\n}})();"


def _linked(module: str) -> str:
    """A module's text with its imports taken from the functions of others."""
    return IMPORT.sub(lambda line: f"const {{ {line[1]} }} = {_name(line[2])};\n", page_file(f"{module}.js"))


def _plain(text: str, module: str) -> str:
    """The text, in which no import or export is left."""
    if line := OTHER.search(text):
        raise ValueError(f"{module}.js has {line[0]!r}, which cannot be joined; see latentsync.lab.pages.bundle.script")
    return text


def _name(module: str) -> str:
    return "module_" + module.replace("/", "_")
