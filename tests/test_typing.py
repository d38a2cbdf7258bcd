"""What the public names are: to Python, which imports no heavy package for them, and to type checkers."""

import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "pandas", "numpy", "hydra", "matplotlib")
SCRIPT = """from latentsync import LipsyncPipeline
from latentsync.lab import collect
pipeline = LipsyncPipeline.from_pretrained("mini")
reveal_type((LipsyncPipeline, pipeline, pipeline("clip.mp4", "voice.wav", "out.mp4")))
reveal_type((collect, collect("runs")))
"""
OTHERS = """from latentsync.audio import Audio2Feature
from latentsync.lab import BlindRating, Explorer, compare, measure, report
from latentsync.unet import UNet3DConditionModel
reveal_type(BlindRating), reveal_type(Explorer), reveal_type(compare), reveal_type(measure), reveal_type(report)
def of(audio: Audio2Feature, unet: UNet3DConditionModel) -> None: reveal_type(audio), reveal_type(unet)
"""
MISTAKEN = """from latentsync import LipsyncPipelin
from latentsync.lab import colect
"""


@pytest.mark.parametrize("module", ["latentsync", "latentsync.lab"])
def test_public_names_are_there_and_cost_nothing_until_they_are_used(module):
    code = f"import sys, {module} as m; print([n for n in {HEAVY} if n in sys.modules], set(m.__all__) <= set(dir(m)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.strip() == "[] True", answer.stderr
    imported = importlib.import_module(module)
    for name in set(imported.__all__) - {"__version__"}:
        assert getattr(imported, name).__name__ == name
    with pytest.raises(AttributeError, match=f"module '{module}' has no attribute 'colect'"):
        imported.colect  # noqa: B018


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        (
            "from latentsync.lab import Explorer",
            "torch diffusers transformers matplotlib scipy mediapipe wandb",
        ),
        ("from latentsync.lab import collect", "torch diffusers transformers matplotlib scipy cv2 av hydra"),
        ("import latentsync.lab.sweeps.status", "torch pandas matplotlib scipy cv2 av hydra omegaconf"),
    ],
)
def test_what_is_heavy_is_imported_where_it_is_used(statement, heavy):
    code = f"import sys; {statement}; print([name for name in {heavy.split()} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.strip() == "[]", answer.stdout + answer.stderr


def test_both_checkers_look_at_the_same_files():
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert tools["mypy"]["files"] == tools["basedpyright"]["include"]
    assert all((ROOT / name).is_file() for name in tools["mypy"]["files"])


@pytest.mark.parametrize("checker", [("mypy",), ("basedpyright", "--pythonpath", sys.executable)], ids=lambda c: c[0])
def test_types_of_the_public_names_are_clean(checker):
    """As `make lint` has it."""
    answer = subprocess.run([sys.executable, "-m", *checker], cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.fixture(scope="module")
def scripts(tmp_path_factory) -> Path:
    """A folder outside the clone with scripts that use the installed package."""
    folder = tmp_path_factory.mktemp("scripts")
    for name, text in (("script", SCRIPT), ("others", OTHERS), ("mistaken", MISTAKEN)):
        (folder / f"{name}.py").write_text(text)
    return folder


def test_mypy_sees_what_the_public_names_are(scripts):
    cache = ROOT / ".mypy_cache" / "tests"
    environment = {**os.environ, "MYPY_FORCE_COLOR": "0"}
    answer = subprocess.run(
        [sys.executable, "-m", "mypy", f"--cache-dir={cache}", f"--config-file={ROOT / 'pyproject.toml'}",
         "--no-pretty", "--check-untyped-defs", "script.py", "others.py", "mistaken.py"],
        cwd=scripts, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    revealed = {
        name: re.findall(rf"^{name}\.py:\d+: note: Revealed type is \"(.*)\"", answer.stdout, re.MULTILINE)
        for name in ("script", "others")
    }
    pipeline, collect = revealed["script"]
    classes = r"def \(.*\) -> latentsync\.pipeline\.LipsyncPipeline", r".*\.LipsyncPipeline", r".*\.LipsyncOutput"
    assert re.fullmatch(rf"tuple\[{', '.join(classes)}\]", pipeline)
    assert "runs_dir: str | pathlib.Path" in collect
    parts = ("BlindRating", "Explorer", "baseline", "metrics", "runs_dir", "Audio2Feature", "UNet3DConditionModel")
    for text, part in zip(revealed["others"], parts, strict=True):
        assert part in text
    errors = re.findall(r"^(.*): error: (.*)$", answer.stdout, re.MULTILINE)
    assert [place for place, _ in errors] == ["mistaken.py:1", "mistaken.py:2"], answer.stdout
    assert 'maybe "LipsyncPipeline"?' in errors[0][1] and 'maybe "collect"?' in errors[1][1]


def test_pyright_sees_what_the_public_names_are(scripts):
    """By basedpyright, which brings pyright's checker, and Node.js, in its wheels."""
    answer = subprocess.run(
        [sys.executable, "-m", "basedpyright", f"--pythonpath={sys.executable}", "--outputjson", "script.py",
         "others.py", "mistaken.py"],
        cwd=scripts, capture_output=True, text=True,
    )  # fmt: skip
    diagnostics = json.loads(answer.stdout)["generalDiagnostics"]
    revealed = " ".join(each["message"] for each in diagnostics if each["severity"] == "information")
    parts = (
        "type[LipsyncPipeline], LipsyncPipeline, LipsyncOutput",
        "sweep: str | None = None) -> DataFrame",
        "type[Explorer]",
        "type[BlindRating]",
        "Audio2Feature",
        "UNet3DConditionModel",
    )
    for part in parts:
        assert part in revealed
    assert "Unknown" not in revealed
    errors = {(Path(each["file"]).name, each["message"]) for each in diagnostics if each["severity"] == "error"}
    assert errors == {
        ("mistaken.py", '"LipsyncPipelin" is unknown import symbol'),
        ("mistaken.py", '"colect" is unknown import symbol'),
    }
