"""The wheel: what is in it, and that it works without a clone, beside folders named like parts of the project."""

import os
import site
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from latentsync.lab import commands

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
OFFLINE = ["--no-index", "--no-deps"]
SUFFIXES = {
    ".py",
    ".typed",
    ".json",
    ".yaml",
    ".safetensors",
    ".html",
    ".css",
    ".js",
    ".j2",
    ".mp4",
    ".wav",
    ".txt",
    ".md",
}


def call(command: list, folder: Path) -> subprocess.CompletedProcess:
    """Runs a command without the variables that would let Python find the clone."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of this checkout, built without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    answer = call([*PIP, "wheel", *OFFLINE, "--no-build-isolation", "--wheel-dir", folder, ROOT], folder)
    assert answer.returncode == 0, answer.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def bin_dir(wheel, tmp_path_factory) -> Path:
    """The programs of an environment that has the wheel; a path file lends it the packages that this one has."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    answer = call([sys.executable, "-m", "venv", "--without-pip", folder], folder.parent)
    assert answer.returncode == 0, answer.stderr
    answer = call([*PIP, "--python", folder / "bin/python", "install", *OFFLINE, wheel], folder)
    assert answer.returncode == 0, answer.stderr
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "lent.pth").write_text("\n".join(site.getsitepackages()))
    return folder / "bin"


@pytest.fixture(scope="module")
def latentsync(bin_dir, tmp_path_factory) -> Callable[..., subprocess.CompletedProcess]:
    """The command, run in a researcher's folder whose `experiments` and `statistics.py` must not be imported."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "experiments").mkdir()
    for path in (folder / "experiments/__init__.py", folder / "statistics.py"):
        path.write_text(f"raise AssertionError({path.name!r})\n")

    def run(*arguments: str) -> subprocess.CompletedProcess:
        return call([bin_dir / "latentsync", *arguments], folder)

    run.folder = folder
    return run


def files_below(folder: Path) -> set[str]:
    """All files of a folder but what Python keeps there."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_has_the_package_with_its_configurations_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    package = {f"latentsync/{name}" for name in files_below(ROOT / "latentsync")}
    configurations = {f"latentsync/lab/conf/{name}" for name in files_below(ROOT / "conf")}
    assert {name for name in names if ".dist-info/" not in name} == package | configurations
    assert {Path(name).suffix for name in names} >= SUFFIXES
    assert "latentsync/py.typed" in names
    assert {Path(name).name for name in names if ".dist-info/licenses/" in name} == {"LICENSE", "NOTICE"}


def test_the_installed_package_is_the_wheels(bin_dir, latentsync):
    code = "import sys, latentsync; from latentsync.lab.options import CONF_DIR; print(latentsync.__file__, CONF_DIR)"
    answer = call([bin_dir / "python", "-P", "-c", code], latentsync.folder)
    assert answer.returncode == 0, answer.stderr
    for path in answer.stdout.split():
        assert Path(path).is_relative_to(bin_dir.parent) and not Path(path).is_relative_to(ROOT)


def test_it_lists_its_commands(latentsync):
    answer = latentsync("--help")
    assert answer.returncode == 0, answer.stderr
    listed = {line.split()[0] for line in answer.stdout.splitlines() if line.startswith("  ")}
    assert set(commands.names()) <= listed


@pytest.mark.slow
def test_it_plans_a_sweep_and_makes_nothing(latentsync):
    answer = latentsync("run", "experiment=quickstart", "size=debug", "plan=true")
    assert answer.returncode == 0, answer.stderr
    assert "4 cells, 8 records: 0 cached, 8 to make" in answer.stdout
    assert files_below(latentsync.folder) == {"experiments/__init__.py", "statistics.py"}


def test_it_reports_an_unknown_experiment_with_the_closest_one(latentsync):
    answer = latentsync("run", "experiment=quickstrat", "plan=true")
    assert answer.returncode != 0
    assert "did you mean quickstart" in answer.stderr
