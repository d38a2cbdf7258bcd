"""One cell, or with `-m` and comma lists a sweep.

python -m experiments.run data=folder data.input_dir=DIR sampler.guidance_scale=1.8 sampler.seed=1247
python -m experiments.run -m data=folder data.input_dir=DIR sampler.guidance_scale=1.0,1.5,2.0
python -m experiments.run experiment=quickstart
"""

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from experiments.sweep import run_and_note


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def main(config: DictConfig) -> None:
    """Runs the composed cell; failures are noted and told at the end, by `experiments.sweep.SweepReport`."""
    run_and_note(config, list(HydraConfig.get().overrides.task))


if __name__ == "__main__":
    main()
