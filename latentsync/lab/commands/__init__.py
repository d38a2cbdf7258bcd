"""The commands, one module each. A command reads its arguments, calls the library and returns an exit status.

Every file in this folder is a command; there is no other list of them. A file whose name would be a word of Python's
own ends with an underscore: `import_.py`.
"""

import ast
from importlib import import_module
from keyword import iskeyword
from pathlib import Path
from types import ModuleType

PART_OF = {"distill": "train train=unet_distill data_dir=CLIPS model_dir=TEACHER"}  # names that a user may expect
USAGE = "usage: latentsync NAME ...   (latentsync NAME --help lists its options)"


def names() -> list[str]:
    """The names of the commands, sorted."""
    return sorted(path.stem.rstrip("_").replace("_", "-") for path in Path(__file__).parent.glob("[!_]*.py"))


def _stem(name: str) -> str:
    """The name of a command's file, without its ending."""
    stem = name.replace("-", "_")
    return f"{stem}_" if iskeyword(stem) else stem


def module(name: str) -> ModuleType:
    """The module of a command, imported."""
    return import_module(f"{__name__}.{_stem(name)}")


def summary(name: str) -> str:
    """The first line of a command's docstring. Its file is read, not imported, to keep `latentsync --help` fast."""
    source = (Path(__file__).parent / f"{_stem(name)}.py").read_text(encoding="utf-8")
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

        whole = PART_OF.get(name)
        hint = f"use latentsync {whole} (docs/training.md)" if whole else did_you_mean(name, names())
        warn(f"error: there is no command {name}; {hint}")
        return MISUSED
    return module(name).main(rest)
