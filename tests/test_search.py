"""Hydra's Optuna sweeper finds the setting that an exhaustive sweep finds."""

from importlib.util import find_spec

import pandas as pd
import pytest
import yaml
from sweep_command import sweep_here

SCALES = (1.0, 2.0, 4.0)
OBJECTIVE = "seam_colour"


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("hydra_plugins.hydra_optuna_sweeper") is None,
    reason="hydra-optuna-sweeper is not installed (pip install 'latentsync-lab[optuna]')",
)
def test_a_search_of_12_trials_finds_the_best_of_an_exhaustive_sweep(clips, tmp_path):
    common = ("metrics.seam=true", "sampler.seed=1", f"objective={OBJECTIVE}")
    status, output = sweep_here(clips, tmp_path, *common, f"sampler.guidance_scale={','.join(map(str, SCALES))}")
    assert status == 0, output
    table = pd.read_csv(tmp_path / "sweeps" / "test" / "table.csv")
    best = table.loc[table[OBJECTIVE].idxmin()]
    search = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=12", "hydra.sweeper.direction=minimize"]
    search += ["hydra.sweeper.sampler.seed=1", "hydra.sweeper.n_jobs=1", "name=search"]
    choices = f"sampler.guidance_scale=choice({','.join(map(str, SCALES))})"
    status, output = sweep_here(clips, tmp_path, *common, *search, choices)
    assert status == 0, output
    found = yaml.safe_load((tmp_path / "sweeps" / "search" / "optimization_results.yaml").read_text())
    assert found["best_params"] == {"sampler.guidance_scale": best["guidance_scale"]}
    assert found["best_value"] == pytest.approx(best[OBJECTIVE])
    assert len(list((tmp_path / "records").iterdir())) == len(SCALES)  # the search reused them
