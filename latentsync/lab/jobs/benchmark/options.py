"""The options of a benchmark, composed by Hydra and checked."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from hydra import compose
from omegaconf import OmegaConf

from latentsync.config import DTYPES, MAX_SEED, MAX_STEPS
from latentsync.errors import OptionError, WeightsError, did_you_mean
from latentsync.lab.options.compose import Root, check_names, composing, refuse_several_values
from latentsync.lab.options.literal import literal
from latentsync.lab.options.sources import ConfigSources
from latentsync.option import is_number, is_whole
from latentsync.unet.savings import Savings
from latentsync.weights.catalogue import CATALOGUE, published_unet
from latentsync.weights.folders import INDEX_FILE, MODELS_DIR

STAGES = ("unet", "vae_encode", "vae_decode", "window", "pipeline")
SAVINGS = tuple(field.name for field in fields(Savings))
WHOLE = {  # least and most of whole numbers; None may be given where a number is open
    "repeats": (1, 1000), "steps": (1, MAX_STEPS), "windows": (1, 1000), "num_frames": (1, 1000), "size_px": (64, 4096),
    "threads": (1, 4096), "seed": (0, MAX_SEED),
}  # fmt: skip
OPEN = ("windows", "num_frames", "size_px", "threads")
LATENT_MULTIPLE = 64  # px of a crop: the UNet halves latents of 1/8 three times


@dataclass(frozen=True)
class BenchmarkOptions:
    """What a benchmark measures; conf/benchmark_config.yaml explains each.

    Raises:
        OptionError: a value is unknown or out of range.
        WeightsError: a model is neither shipped nor published nor a folder of a model.
    """

    models: tuple[str, ...] = ("mini",)
    stages: tuple[str, ...] | None = None
    dtypes: tuple[str, ...] | None = None
    savings: tuple[str, ...] | None = None
    without: tuple[str, ...] = ()
    repeats: int = 3
    guidance: bool = True
    steps: int = 20
    fewer_steps: tuple[int, ...] = ()
    windows: int | None = None
    num_frames: int | None = None
    size_px: int | None = None
    voice_s: float = 1.0
    threads: int | None = None
    device: str | None = None
    seed: int = 1247

    def __post_init__(self) -> None:
        for name, allowed in (("stages", STAGES), ("dtypes", DTYPES), ("savings", SAVINGS), ("without", SAVINGS)):
            self._take_names(name, allowed)
        self._take_names("models", None)
        for name, (least, most) in WHOLE.items():
            value = getattr(self, name)
            if value is None and name in OPEN:
                continue
            if not (is_whole(value) and least <= value <= most):
                raise OptionError(f"{name} is {value!r}; it must be a whole number from {least} to {most}")
        self._take_fewer_steps()
        if self.size_px is not None and self.size_px % LATENT_MULTIPLE:
            raise OptionError(f"size_px is {self.size_px}; it must be a multiple of {LATENT_MULTIPLE}")
        if not (is_number(self.voice_s) and 0.2 <= self.voice_s <= 3.0):
            raise OptionError(f"voice_s is {self.voice_s!r}; it must be a number from 0.2 to 3, as the voice is long")
        if not isinstance(self.guidance, bool):
            raise OptionError(f"guidance is {self.guidance!r}; it must be true or false")
        for model in self.models:
            require_known(model)

    def _take_fewer_steps(self) -> None:
        value: Any = self.fewer_steps
        steps = (value,) if is_whole(value) else tuple(value) if isinstance(value, list | tuple) else None
        if steps is None or not all(is_whole(one) and 1 <= one < self.steps for one in steps):
            raise OptionError(
                f"fewer_steps is {value!r}; it must be a list of whole numbers from 1 to {self.steps - 1}, below steps"
            )
        object.__setattr__(self, "fewer_steps", tuple(dict.fromkeys(steps)))

    def _take_names(self, name: str, allowed: Sequence[str] | None) -> None:
        """Makes a list of names a tuple; one name alone is a list of one."""
        value: Any = getattr(self, name)
        if value is None:
            return
        names = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list | tuple) else None
        if names is None or not all(isinstance(one, str) for one in names):
            raise OptionError(f"{name} is {value!r}; it must be a list of names, such as [{(allowed or ('mini',))[0]}]")
        for one in names if allowed is not None else ():
            if one not in allowed:
                raise OptionError(f"{name} has {one!r}; {did_you_mean(one, allowed)}")
        object.__setattr__(self, name, tuple(dict.fromkeys(names)))

    @property
    def chosen_savings(self) -> Savings:
        """The exact savings of the variants called "saved"."""
        chosen = set(SAVINGS if self.savings is None else self.savings) - set(self.without)
        return replace(Savings.none(), **{name: True for name in chosen})


def require_known(model: str) -> None:
    """Refuses a model that cannot be built here.

    Raises:
        WeightsError: it is neither shipped nor published nor a folder of a model.
    """
    published = sorted(Path(name).parent.name for name, weight in CATALOGUE.items() if weight.unet_config)
    shipped = sorted(path.parent.name for path in MODELS_DIR.glob(f"*/{INDEX_FILE}"))
    if model not in shipped and published_unet(model) is None and not (Path(model) / INDEX_FILE).is_file():
        raise WeightsError(
            f"models has {model}, which is no folder of a model; {did_you_mean(model, shipped + published)}"
        )


BENCHMARK = Root(
    command="benchmark",
    config_name="benchmark_config",
    keys=frozenset(field.name for field in fields(BenchmarkOptions)),
    texts=frozenset({"device"}),
    free=("hydra",),
)


def configure(overrides: Sequence[str]) -> BenchmarkOptions:
    """The options composed from the command line and conf/.

    Raises:
        OptionError: an override is unknown, missing or out of range.
        WeightsError: a model is unknown.
    """
    lines = literal(overrides, BENCHMARK.texts)
    with composing(ConfigSources(BENCHMARK.config_name), BENCHMARK):
        check_names(lines, BENCHMARK)
        refuse_several_values(lines, "a benchmark has one; put a list in brackets, such as stages=[unet,window]")
        config = compose(BENCHMARK.config_name, overrides=lines)
        return BenchmarkOptions(**OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
