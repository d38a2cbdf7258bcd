"""Every experiment that ships composes, and runs at its debug size."""

import math
import runpy
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from latentsync.errors import OptionError
from latentsync.lab.options import CONF_DIR
from latentsync.lab.options.pairs import SHIPPED_DIR, find_pairs
from latentsync.lab.options.schema import read_config
from latentsync.lab.records.sweeps import sweep_cells
from latentsync.lab.tables.tidy import collect_wide
from latentsync.media.excerpt import excerpt, excerpt_voice

pytestmark = pytest.mark.slow

SWEPT = {  # experiment: cells in its debug size, and in its full one, for each pair
    "acceleration": (4, 24),
    "full_factorial": (4, 72),
    "gender_presets": (3, 9),
    "guidance_kinds": (6, 18),
    "guidance_schedule": (4, 48),
    "guidance_sweep": (2, 24),
    "leakage": (6, 6),
    "quickstart": (4, 3),
    "scheduler_comparison": (3, 36),
    "seed_variance": (2, 16),
    "steps_sweep": (2, 27),
}


def composed(experiment, *overrides):
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return compose("config", overrides=[f"experiment={experiment}", *overrides], return_hydra_config=True)


def cells(experiment, *overrides) -> int:
    """How many settings a sweep goes through."""
    params = composed(experiment, *overrides).hydra.sweeper.params
    parsed = OverridesParser.create().parse_overrides([f"{key}={value}" for key, value in params.items()])
    return math.prod(len(list(o.sweep_iterator())) for o in parsed if o.is_sweep_override())


def test_every_sweep_is_known_here():
    sweeping = {path.stem for path in CONF_DIR.glob("experiment/*.yaml") if "MULTIRUN" in path.read_text()}
    assert sweeping == set(SWEPT)


PEOPLE = {"gender_presets": 2, "leakage": 2}  # they compare genders, or dub one person with another's voice; others: 1


@pytest.fixture
def clips(name, tmp_path) -> Path:
    """A folder with short clips of one person or of both genders, and 0.3 s of their own voices."""
    duration_s = 2.4 if name == "leakage" else 0.4  # it takes references from elsewhere
    for person in ("g-clara", "m-oskar")[: PEOPLE.get(name, 1)]:
        clip = excerpt(SHIPPED_DIR / f"{person}.mp4", tmp_path, 1.0, duration_s)
        excerpt_voice(SHIPPED_DIR / f"{person}.wav", clip.with_suffix(".wav"), 1.0, 0.3)
    return tmp_path


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """One runs folder for all: a cell of several experiments is computed once."""
    return tmp_path_factory.mktemp("runs")


@pytest.mark.parametrize("name", sorted(SWEPT))
def test_an_experiment_has_its_cells_in_both_sizes_and_runs_in_the_smaller(
    name, clips, runs, untrained, monkeypatch, capsys
):
    assert (cells(name, "size=debug"), cells(name)) == SWEPT[name]
    given = [f"experiment={name}", "size=debug", "data=folder", f"data.input_dir={clips}", f"runs_dir={runs}"]
    if name != "quickstart":
        given.append(f"model.pretrained={untrained}")
    monkeypatch.setattr(sys, "argv", ["latentsync", "run", "-m", *given])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("latentsync", run_name="__main__")
    assert end.value.code == 0
    output = capsys.readouterr().out
    table = collect_wide(runs, name)
    assert f"{len(table)} records, 0 failures" in output
    assert not table.drop(columns=["record", "preset", "seconds"]).duplicated().any()  # it tells the cells apart
    outcomes = [outcome for cell in sweep_cells(runs / "sweeps" / name) for outcome in cell["outcomes"]]
    assert len(outcomes) == PEOPLE.get(name, 1) * SWEPT[name][0] and {o["status"] for o in outcomes} <= {
        "done",
        "cached",
    }
    assert (runs / "sweeps" / name / "contact_sheet.png").is_file()


def test_a_swapped_preset_gives_each_gender_the_others_guidance():
    own = read_config(composed("gender_presets", "preset=by_gender")).preset
    swapped = read_config(composed("gender_presets", "preset=swapped")).preset
    assert (swapped.female, swapped.male, swapped.neutral) == (own.male, own.female, own.neutral)


def test_an_experiment_takes_the_first_pairs_of_each_gender():
    pairing = find_pairs(SHIPPED_DIR)
    assert [pair.name for pair in pairing.first(1).pairs] == ["g-clara__g-clara-weather", "m-oskar__m-oskar-weather"]
    assert pairing.first(None) == pairing and len(pairing.pairs) == 4
    with pytest.raises(OptionError, match="data.max_pairs is 0; .* at least 1"):
        read_config(composed("seed_variance", "data.max_pairs=0"))
