"""The commands, one module each. A command reads its arguments, calls the library and returns an exit status.

Every file in this folder is a command; there is no other list of them.
"""

import ast
from importlib import import_module
from pathlib import Path
from types import ModuleType

USAGE = "usage: latentsync NAME ...   (latentsync NAME --help lists its options)"


def names() -> list[str]:
    """The names of the commands, sorted."""
    return sorted(path.stem.replace("_", "-") for path in Path(__file__).parent.glob("[!_]*.py"))


def module(name: str) -> ModuleType:
    """The module of a command, imported."""
    return import_module(f"{__name__}.{name.replace('-', '_')}")


def summary(name: str) -> str:
    """The first line of a command's docstring. Its file is read, not imported, to keep `latentsync --help` fast."""
    source = (Path(__file__).parent / f"{name.replace('-', '_')}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").splitlines()[0]


def listing() -> str:
    """The text of `latentsync --help`."""
    known = names()
    width = max(map(len, known))
    return "\n".join([USAGE, "", *(f"  {name:<{width}}  {summary(name)}" for name in known)])


def dispatch(arguments: list[str]) -> int:
    """Runs the command named by the first argument, and passes it the other arguments.

    Returns:
        The command's exit status; 2 if its name is unknown.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        print(listing())
        return 0
    name, *rest = arguments
    if name == "--version":
        from latentsync import __version__

        print(__version__)
        return 0
    name = name.replace("_", "-")
    if name not in names():
        from latentsync.errors import did_you_mean
        from latentsync.lab.console import MISUSED, warn

        warn(f"error: there is no command {name}; {did_you_mean(name, names())}")
        return MISUSED
    return module(name).main(rest)
