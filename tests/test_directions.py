"""Imports run one way: every room of the laboratory looks at those above it, and the library at none of them."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from source_trees import tree_of

ROOT = Path(__file__).resolve().parents[1]
LAB = ROOT / "latentsync" / "lab"
MAY_IMPORT = {  # of the other rooms of the laboratory; every room may import `console`
    "console": set(),
    "options": set(),
    "records": {"options"},
    "measuring": {"options", "records"},
    "cells": {"options", "records", "measuring"},
    "tables": {"options", "records"},
    "jobs": {"options", "records", "measuring", "cells", "tables"},
    "analysis": {"records", "tables"},
    "figures": {"records", "tables", "analysis"},
    "tracking": {"options", "records", "tables", "figures"},
    "sweeps": {"options", "records", "cells", "tables", "analysis", "figures", "tracking"},
    "pages": {"options", "records", "tables", "analysis", "figures", "sweeps"},
    "serving": {"options", "records", "tables", "analysis", "figures", "sweeps", "pages", "jobs"},
    "widgets": {"options", "records", "tables", "analysis", "figures", "pages", "jobs"},
    "evaluation": {"options", "measuring", "tables", "analysis"},
    "training": {"options", "tracking"},  # a training opens its run of Weights & Biases as a sweep does
}
MOST_ENTRIES = 18  # at the top of the laboratory
NOT_OF_THE_LIBRARY = ("latentsync.lab", "hydra", "omegaconf", "wandb", "notebooks", "tests")


def modules() -> dict[str, Path]:
    """Every module of the package, by its dotted name."""
    paths = (ROOT / "latentsync").rglob("*.py")
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


MODULES = modules()


def imported(path: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it."""
    for node in ast.walk(tree_of(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports by dots; name the module whole"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else node.module


def is_below(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def room_of(module: str) -> str | None:
    """The room of the laboratory that a module belongs to."""
    parts = module.split(".")
    return parts[2] if parts[:2] == ["latentsync", "lab"] and len(parts) > 2 else None


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_stands_above_it(room):
    files = [path for module, path in MODULES.items() if room_of(module) == room]
    assert files
    wrong = {
        f"{path.relative_to(ROOT)} -> {module}"
        for path in files
        for module in imported(path)
        if room_of(module) not in {None, room, "console", *MAY_IMPORT[room]}
    }
    assert wrong == set()


def test_the_table_has_every_room():
    entries = {path.stem for path in LAB.iterdir() if path.name not in ("__pycache__", "__init__.py", "conf")}
    assert entries == {*MAY_IMPORT, "commands"}
    assert len(entries) <= MOST_ENTRIES


def test_the_library_knows_nothing_of_the_laboratory():
    library = {module: path for module, path in MODULES.items() if not is_below(module, "latentsync.lab")}
    wrong = {
        f"{module} -> {other}"
        for module, path in library.items()
        if module != "latentsync.__main__"
        for other in imported(path)
        if any(is_below(other, package) for package in NOT_OF_THE_LIBRARY)
    }
    assert wrong == set()


def test_hydras_inner_modules_are_touched_in_one_room():
    touching = {
        room_of(module)
        for module, path in MODULES.items()
        if any(is_below(other, "hydra._internal") for other in imported(path))
    }
    assert touching <= {"options"}


def test_no_two_modules_need_each_other():
    graph = {
        module: {other for other in imported(path) if other in MODULES and other != module}
        for module, path in MODULES.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")
