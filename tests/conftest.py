"""What several tests share. Fixtures import what is large: the process that starts the workers reads this file, too."""

import gc
import json
import logging
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from latentsync.processes import collect_rarely

pytest_plugins = ["fidelity"]

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_configure() -> None:
    collect_rarely()


def pytest_collection_finish() -> None:
    """Spares the libraries' objects every later search for garbage."""
    gc.freeze()


@pytest.fixture(autouse=True)
def own_log_handlers() -> Iterator[None]:
    """Removes the handlers that a test adds to the root logger. Those of Hydra write to an output that is closed."""
    root = logging.getLogger()
    before = root.handlers[:]
    yield
    for handler in root.handlers[:]:
        if handler not in before:
            root.removeHandler(handler)


@pytest.fixture(autouse=True)
def unbroken_tables(monkeypatch) -> None:
    """Prints tables as into a pipe, a row a line; the workers of pytest-xdist set COLUMNS."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(scope="session", autouse=True)
def records_follow_the_schema(tmp_path_factory) -> Iterator[None]:
    """At the end, holds every record that the tests made in their folders against the published schema."""
    yield
    if "torch" in sys.modules:  # else no record was made
        from record_schemas import made_records, schema_faults

        folders = made_records(tmp_path_factory.getbasetemp())
        assert [line for folder in folders for line in schema_faults(folder)] == []


@pytest.fixture(scope="session")
def untrained(tmp_path_factory) -> Path:
    """The shipped model with few channels, and seeded weights in place of its own; for reading only."""
    from latentsync.checkpoints.model import CONFIG_FILE, INDEX_FILE, MODELS_DIR

    folder = tmp_path_factory.mktemp("untrained") / "mini"
    shutil.copytree(MODELS_DIR / "mini", folder, ignore=shutil.ignore_patterns("*.safetensors"))
    changes = {
        INDEX_FILE: {"trained": False, "untrained_seed": 1247},
        f"unet/{CONFIG_FILE}": {"block_out_channels": [32, 32, 32]},
        f"vae/{CONFIG_FILE}": {"block_out_channels": [8, 8, 16, 16]},
    }
    for name, change in changes.items():
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    return folder


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> Path:
    """A folder with one clip and half a second of voice; for reading only."""
    from short_clips import clip_folder

    return clip_folder(tmp_path_factory.mktemp("clips"), 0.5)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the original's numbers and two real clips; a user never has it."""
    if not SHARED.is_dir():
        pytest.skip("the folder with golden numbers and real clips is not beside this checkout")
    return SHARED


@pytest.fixture(scope="session")
def golden(shared: Path) -> Path:
    return shared / "golden"


@pytest.fixture(scope="session")
def recipe(golden: Path):
    """The module that makes the seeded inputs and weights of the golden numbers."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("golden_recipe", golden / "recipe.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def whisper_with():
    """Makes a Whisper encoder with given tensors under OpenAI's names: (state_dict, width, heads, layers) -> states."""
    from latentsync.audio.whisper import WhisperStates
    from latentsync.audio.whisper_files import whisper_from_openai
    from latentsync.weights.tensors import load_exactly

    def make(state_dict, width: int, heads: int, layers: int) -> WhisperStates:
        states = WhisperStates.from_dims(width, heads, layers)
        renamed = whisper_from_openai(state_dict)
        renamed.setdefault("embed_positions.weight", states.encoder.embed_positions.weight.data)
        load_exactly(states.encoder, renamed, "golden")
        return states

    return make
