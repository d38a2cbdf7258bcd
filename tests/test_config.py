"""Options: what is refused and in which words, how open values are filled in, that every configuration composes."""

from importlib.util import find_spec

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException

from latentsync.checkpoints.unet import read_unet_config
from latentsync.config import RuntimeOptions, SamplerOptions, VideoOptions
from latentsync.errors import OptionError
from latentsync.lab.options import CONF_DIR
from latentsync.lab.options.schema import OPTIONAL_TRACKERS, read_config
from latentsync.presets import Preset, resolve_guidance
from latentsync.weights import CATALOGUE


def composed(*overrides):
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return compose("config", overrides=list(overrides))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SamplerOptions(num_inference_steps=0), "num_inference_steps is 0; .* 1 to 999"),
        (lambda: SamplerOptions(guidance_scale=-0.1), "guidance_scale is -0.1; .* at least 0"),
        (lambda: SamplerOptions(guidance_scale=float("nan")), "guidance_scale is nan"),
        (lambda: SamplerOptions(seed=-1), "seed is -1; .* 0 to"),
        (lambda: SamplerOptions(num_frames=0), "num_frames is 0; .* at least 1"),
        (lambda: SamplerOptions(rng="global"), "rng 'global' .* own, reference"),
        (lambda: SamplerOptions(deepcache_interval=0), "deepcache_interval is 0; .* at least 1"),
        (
            lambda: SamplerOptions(deepcache_order=2),
            r"deepcache_order is 2; .* from 0 to 1 \(0 repeats, 1 extrapolates\)",
        ),
        (
            lambda: SamplerOptions(scheduler="euler"),
            "scheduler 'euler' .* ddim, dpmpp_2m, unipc",
        ),
        (lambda: SamplerOptions(guidance_schedule="sine"), "'sine' is unknown; .* constant, linear"),
        (lambda: SamplerOptions(guidance_mask="lips"), "guidance_mask 'lips' .* uniform, mouth"),
        (
            lambda: SamplerOptions(guidance_interval=(0.8, 0.2)),
            r"guidance_interval is \[0.8, 0.2\]; .* low < high <= 1",
        ),
        (
            lambda: SamplerOptions(num_inference_steps=20, deepcache_final_steps=21),
            "deepcache_final_steps is 21, but there are 20 steps; give at most 20, or deepcache_interval=1",
        ),
        (
            lambda: SamplerOptions(num_inference_steps=20, guidance_every=21),
            "guidance_every is 21, but there are 20 steps; give at most 20",
        ),
        (lambda: SamplerOptions(guidance_kind="star"), "guidance_kind 'star' .* plain, projected, zero_star"),
        (lambda: SamplerOptions(guidance_momentum=-1.5), "guidance_momentum is -1.5; .* from -1 to 1"),
        (
            lambda: SamplerOptions(num_inference_steps=20, guidance_kind="zero_star", guidance_zero_steps=21),
            "guidance_zero_steps is 21, but there are 20 steps; give at most 20, or 0",
        ),
        (lambda: SamplerOptions(guidance_interval=(0.5,)), r"guidance_interval is \[0.5\]; .* two shares"),
        (lambda: VideoOptions(length="all"), "length 'all' .* sound, clip, shortest, reference"),
        (lambda: VideoOptions(geometry="float64"), "geometry 'float64' .* float32, float16"),
        (lambda: VideoOptions(rounding="up"), "rounding 'up' .* nearest, truncate"),
        (lambda: VideoOptions(width=100), "width is 100; .* multiple of 8"),
        (lambda: VideoOptions(width=256, height=128), "width 256 and height 128 differ"),
        (lambda: VideoOptions(mask="mouth"), "mask 'mouth' .* mask, mask2"),
        (lambda: VideoOptions(crf=52), "crf is 52; .* 0 .*51"),
        (lambda: RuntimeOptions(dtype="int8"), "dtype 'int8' is unknown"),
        (lambda: RuntimeOptions(batch_size=0), "batch_size is 0"),
        (lambda: RuntimeOptions(memory="lots"), "memory is 'lots'; it must be auto, or a number of GB above 0"),
        (lambda: RuntimeOptions(memory=-1), "memory is '-1'"),
    ],
)
def test_values_out_of_range_are_refused_with_value_bound_and_remedy(make, message):
    with pytest.raises(OptionError, match=message):
        make()


@pytest.mark.parametrize(
    ("preset", "female", "male"),
    [("by_gender", 1.8, 1.3), ("female", 1.8, 1.8), ("male", 1.3, 1.3), ("neutral", 1.5, 1.5)],
)
def test_presets_fill_in_guidance_and_an_explicit_value_wins(preset, female, male):
    config = read_config(composed(f"preset={preset}"))
    open_sampler, given = SamplerOptions(), SamplerOptions(guidance_scale=2.5)
    assert resolve_guidance(open_sampler, config.preset, "female").guidance_scale == female
    assert resolve_guidance(open_sampler, config.preset, "male").guidance_scale == male
    assert resolve_guidance(given, config.preset, "female").guidance_scale == 2.5
    assert Preset() == read_config(composed()).preset  # the library's defaults are the configuration's


def test_defaults_are_the_users():
    config = read_config(composed())
    assert config.options.sampler == SamplerOptions(None, None, 1247, None, scheduler="ddim")
    assert config.options.video == VideoOptions()
    assert config.options.runtime == RuntimeOptions()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sampler.num_inference_steps=0", "num_inference_steps is 0"),
        ("sampler.seed=abc", "sampler.seed is 'abc'; .* whole number"),
        ("+sampler.sed=1", r"sampler\.sed .* did you mean sampler\.seed"),
        ("model.pretrained=null", "give exactly one of them"),
        ("model.whisper=tiny.pt", "model.whisper needs model.inference_ckpt_path"),
        ("tracker.mode=sometimes", "tracker.mode 'sometimes' .* offline, online"),
        ("name=../elsewhere", "name is '../elsewhere'"),
        ("data=folder", "data.input_dir is not given"),
    ],
)
def test_a_wrong_configuration_is_refused_by_key(override, message):
    with pytest.raises(OptionError, match=message):
        read_config(composed(override))


@pytest.mark.parametrize("version", ["1_0", "1_5", "1_6"])
def test_a_published_model_names_a_known_weight_and_its_configuration(version):
    model = read_config(composed(f"model=latentsync_{version}")).model
    assert model.inference_ckpt_path in CATALOGUE
    size_px = read_unet_config(model.unet_config_file)["data"]["resolution"]
    assert size_px == (512 if version == "1_6" else 256)


def test_an_unknown_key_is_refused():
    with pytest.raises(HydraException, match="sed"):
        composed("sampler.sed=1")


@pytest.mark.parametrize("path", sorted(CONF_DIR.glob("experiment/*.yaml")), ids=lambda path: path.stem)
def test_every_experiment_composes(path):
    assert read_config(composed(f"experiment={path.stem}")).name == path.stem


@pytest.mark.parametrize(
    "choice",
    [
        f"{path.parent.name}={path.stem}"
        for path in sorted(CONF_DIR.glob("*/*.yaml"))
        if path.parent.name not in ("benchmark", "experiment", "train", "unet")
    ],
)
def test_every_choice_of_every_group_composes(choice):
    needed = {"data=folder": ["data.input_dir=somewhere"], "data=list": ["data.list=pairs.csv"]}
    given = needed.get(choice, [])
    if (package := choice.removeprefix("tracker=")) in OPTIONAL_TRACKERS and find_spec(package) is None:
        pytest.skip(f"the package {package} is not installed")
    assert read_config(composed(choice, *given))
