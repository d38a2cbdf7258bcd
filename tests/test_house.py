"""The house in order: dependencies flow one way, one truth for packages, clean notebooks, lint."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml
from fidelity import TABLE_BEGINS, TABLE_ENDS
from source_trees import tree_of

ROOT = Path(__file__).resolve().parents[1]
CONDA_EXTRAS = ("dev", "train", "cluster", "browser")  # in environment.yml; `gpu` has a file of its own
CONDA_NAMES = {"torch": "pytorch"}
NAMED_BY_THE_USER = (
    "jupyterlab", "torch", "diffusers", "transformers", "xformers", "hydra-core", "wandb", "matplotlib", "lpips",
    "pytest", "nbmake",
)  # fmt: skip


def by_name(lines: Iterable[str]) -> dict[str, str]:
    """The range of each package of a list of requirements."""
    return dict(re.fullmatch(r"([A-Za-z0-9_.-]+)(.*)", line).groups() for line in lines)


def requirements(*extras: str, base: bool = True) -> dict[str, str]:
    """The packages that pyproject.toml asks for, each with its range: the project's own, and those of extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [line for name in extras for line in project["optional-dependencies"][name]]
    return by_name([*project["dependencies"] * base, *lines])


def conda_packages(path: Path) -> dict[str, str]:
    """The packages of a conda environment, those that pip installs included, each with its range."""
    listed = yaml.safe_load(path.read_text())["dependencies"]
    lines = [line for line in listed if isinstance(line, str)]
    lines += [line for part in listed if isinstance(part, dict) for line in part["pip"]]
    return by_name(line for line in lines if not line.startswith("--"))


def test_environment_agrees_with_pyproject():
    listed = conda_packages(ROOT / "environment.yml")
    wanted = {CONDA_NAMES.get(name, name): bounds for name, bounds in requirements(*CONDA_EXTRAS).items()}
    assert listed == wanted | {"python": listed["python"], "pip": ""}
    assert set(NAMED_BY_THE_USER) <= set(requirements(*CONDA_EXTRAS, "gpu"))


def test_what_needs_an_nvidia_gpu_has_an_environment_of_its_own():
    of_gpu = conda_packages(ROOT / "requirements" / "environment-gpu.yml")
    assert of_gpu == requirements("gpu", base=False)
    assert not set(of_gpu) & set(conda_packages(ROOT / "environment.yml"))


def test_every_package_has_a_lowest_version():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert [name for name, bounds in requirements(*extras).items() if not re.search("(>=|==)", bounds)] == []
    assert requirements()["av"] == ">=18.1,<19"  # others crash, or lack an argument


def test_constraints_allow_what_pyproject_asks_for():
    from packaging.requirements import Requirement

    lines = (ROOT / "requirements" / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    for name, bounds in requirements(*CONDA_EXTRAS).items():
        assert Requirement(name + bounds).specifier.contains(pinned[name]), name


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_are_committed_clean_and_end_with_a_lesson_and_a_link(path):
    cells = json.loads(path.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    assert "parameters" in code[0]["metadata"].get("tags", [])
    assert cells[-1]["cell_type"] == "markdown" and re.search(r"\]\([^)]+\)", "".join(cells[-1]["source"]))
    for cell in code:
        for node in ast.walk(tree_of("".join(cell["source"]))):
            assert not isinstance(node, ast.Assert), "what an assert guards belongs into tests"
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 5, f"{node.name} belongs into the library"


@pytest.mark.parametrize("check", [("check",), ("format", "--check")], ids=["lint", "format"])
def test_ruff_is_content(check):
    answer = subprocess.run([sys.executable, "-m", "ruff", *check, "."], cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_every_module_says_what_it_is_for():
    silent = [
        str(path.relative_to(ROOT))
        for room in ("latentsync", "experiments")
        for path in (ROOT / room).rglob("*.py")
        if not ast.get_docstring(tree_of(path.read_text()))
    ]
    assert silent == []


def test_the_table_of_agreement_is_whole(request):
    """Every comparison that tests make has its row; `pytest tests --fidelity docs/fidelity.md` writes them."""
    if request.config.getoption("--fidelity") is not None:
        pytest.skip("the table is being written anew")
    table = (ROOT / "docs" / "fidelity.md").read_text().split(TABLE_BEGINS)[1].split(TABLE_ENDS)[0]
    for path in (ROOT / "tests").glob("test_*.py"):
        for node in ast.walk(tree_of(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "agree":
                parts = node.args[0].values if isinstance(node.args[0], ast.JoinedStr) else [node.args[0]]
                for part in parts:
                    if isinstance(part, ast.Constant):
                        assert part.value in table, f"{path.name}: {part.value}"


FOLDERS_OF_PAGES = ("docs", "experiments", "notebooks")
PAGES = [
    *sorted(ROOT.glob("README*.md")),
    *sorted(page for name in FOLDERS_OF_PAGES for page in (ROOT / name).rglob("*.md")),
    *sorted((ROOT / "notebooks").glob("*.ipynb")),
]


def text_of(page: Path) -> str:
    """The text of a page; of a notebook that of its Markdown cells."""
    if page.suffix == ".md":
        return page.read_text()
    cells = json.loads(page.read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def named_files(page: Path) -> set[Path]:
    """What a page names: the modules of its commands, and what its relative links and pictures lead to."""
    text = text_of(page)
    modules = set(re.findall(r"python -m (experiments[.\w]+)", text, re.ASCII))
    links = re.findall(r"\]\(([^)\s#]+)", text)
    relative = {page.parent / link for link in links if not re.match(r"[a-z]+:", link)}
    return relative | {ROOT / f"{module.rstrip('.').replace('.', '/')}.py" for module in modules}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_pages_name_is_there(page):
    assert sorted(str(path) for path in named_files(page) if not path.exists()) == []
