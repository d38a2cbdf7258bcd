"""`latentsync benchmark`: what it counts, what it keeps, and what it refuses. Times are not asserted."""

import json
from dataclasses import replace

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler

from latentsync.audio.features import Audio2Feature
from latentsync.audio.whisper import WhisperStates
from latentsync.checkpoints.model import LATENTSYNC_SCHEDULER, SD_VAE, ModelSettings
from latentsync.errors import LatentSyncError, MediaError, OptionError
from latentsync.generation.networks import LipsyncNetworks
from latentsync.lab.commands.benchmark import main
from latentsync.lab.figures.speed import speed_figure
from latentsync.lab.jobs.benchmark import machine, measurement
from latentsync.lab.jobs.benchmark.comparison import compare, read_benchmark, text_of
from latentsync.lab.jobs.benchmark.measurement import measure
from latentsync.lab.jobs.benchmark.models import filled
from latentsync.lab.jobs.benchmark.options import SAVINGS, BenchmarkOptions, configure
from latentsync.lab.jobs.benchmark.work import cost_of, work_of
from latentsync.unet.model import UNet3DConditionModel
from latentsync.unet.savings import Savings, keep_freed_memory

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
UNET = {
    "block_out_channels": (32, 64), "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
    "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"), "layers_per_block": 1, "norm_num_groups": 8,
}  # fmt: skip
VAE = SD_VAE | {"block_out_channels": [8] * 4, "norm_num_groups": 4, "layers_per_block": 1}
OPTIONS = BenchmarkOptions(dtypes=(), repeats=2, steps=2, windows=1)


def tiny_networks(*_) -> LipsyncNetworks:
    unet = filled(lambda: UNet3DConditionModel(**UNET), 1)
    vae = filled(lambda: AutoencoderKL.from_config(VAE), 2)
    audio = Audio2Feature(WhisperStates.from_dims(384, 6, 1))
    settings = ModelSettings("tiny", size_px=64, num_frames=2, trained=False)
    return LipsyncNetworks(vae, unet, DDIMScheduler.from_config(LATENTSYNC_SCHEDULER), audio, settings)


def make_tiny(patch: pytest.MonkeyPatch) -> None:
    """Small peaks, and a small model in place of the chosen one."""
    patch.setattr(machine, "GEMM_SIDES", (8, 16))
    patch.setattr(machine, "CONVOLUTIONS", ((4, 8),))
    patch.setattr(machine, "COPIED_BYTES", 2**20)
    patch.setattr(measurement, "networks_of", tiny_networks)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    make_tiny(monkeypatch)


@pytest.fixture(scope="module")
def benchmark():
    with pytest.MonkeyPatch.context() as patch:
        make_tiny(patch)
        return measure(OPTIONS)


def rows_of(benchmark, **wanted):
    return [row for row in benchmark["rows"] if all(row[name] == value for name, value in wanted.items())]


# --- options ---


def test_presets_and_savings_are_composed():
    assert configure([]).models == ("mini",)
    assert configure(["benchmark=full"]).models == ("latentsync-1.5", "latentsync-1.6")
    assert configure([]).chosen_savings == Savings()
    assert configure(["without=[row_blocks]"]).chosen_savings == replace(Savings(), row_blocks=False)
    only = configure(["savings=[in_place,audio_once]", "without=in_place", "stages=unet"])
    assert only.chosen_savings == replace(Savings.none(), audio_once=True) and only.stages == ("unet",)


@pytest.mark.parametrize(
    ("override", "word"),
    [
        ("savings=[chanels_last]", "savings has 'chanels_last'; did you mean channels_last?"),
        ("without=[inplace]", "did you mean in_place?"),
        ("stages=[vae_decod]", "did you mean vae_decode?"),
        ("dtypes=[float16]", "float16 does not run well on a CPU"),
        ("models=[latentsync-1.7]", "did you mean latentsync-1"),
        ("benchmark=ful", "did you mean full?"),
        ("repeat=3", "did you mean repeats?"),
        ("repeats=0", "repeats is 0; it must be a whole number from 1"),
        ("size_px=100", "multiple of 64"),
        ("voice_s=9", "voice_s is 9"),
        ("guidance=2", "true or false"),
        ("stages=3", "stages is 3; it must be a list of names"),
        ("repeats=1,2", "has several values"),
        ("device=cud", "device 'cud' is not available"),
    ],
)
def test_a_wrong_option_is_refused_with_a_sentence(override, word):
    with pytest.raises(LatentSyncError) as error:
        measure(configure([override]))
    assert word in str(error.value)


def test_a_precision_that_is_emulated_is_refused(monkeypatch):
    monkeypatch.setattr(measurement, "has_native", lambda dtype, device: dtype == torch.float32)
    with pytest.raises(OptionError, match="dtypes has bfloat16, which this processor only emulates"):
        measure(replace(OPTIONS, dtypes=("bfloat16",)))


def test_a_model_with_random_weights_has_no_pipeline():
    with pytest.raises(OptionError, match="stages has pipeline, but mini has random weights"):
        measure(replace(OPTIONS, stages=("pipeline",)))


# --- counting ---


def test_operations_and_bytes_are_counted():
    rows, weight = torch.ones(5, 7), torch.ones(3, 7)
    count = work_of(lambda: torch.nn.functional.linear(rows, weight))
    assert count.flops == 2 * 5 * 7 * 3
    assert count.bytes == 4 * (5 * 7 + 7 * 3 + 5 * 3)
    images, kernel = torch.ones(2, 3, 8, 8), torch.ones(4, 3, 3, 3)
    assert work_of(lambda: torch.conv2d(images, kernel, padding=1)).flops == 2 * (2 * 8 * 8) * 4 * 3 * 9
    tokens = torch.ones(1, 2, 6, 4)
    attention = work_of(lambda: torch.nn.functional.scaled_dot_product_attention(tokens, tokens, tokens))
    assert attention.flops == 2 * (2 * 6 * 6 * 4 * 2)


def test_the_peak_of_memory_is_that_of_the_call():
    size = 2**27
    keep_freed_memory(False)  # in savings the process keeps memory that other tests freed
    idle = cost_of(lambda: None, CPU).peak_bytes
    if idle is None:
        pytest.skip("this system does not say")
    assert cost_of(lambda: torch.ones(size, dtype=torch.uint8), CPU).peak_bytes > idle + size // 2


def test_random_weights_fill_every_tensor_and_leave_positions():
    first, again = (filled(lambda: UNet3DConditionModel(**UNET), 1).state_dict() for _ in range(2))
    built = UNet3DConditionModel(**UNET).state_dict()
    for name, tensor in first.items():
        assert torch.equal(tensor, again[name])
        assert torch.isfinite(tensor).all() and tensor.any()
        if name.endswith("pos_encoder.pe"):
            assert torch.equal(tensor, built[name])


# --- a whole benchmark ---


def test_each_stage_has_a_row_in_each_variant(benchmark):
    stages = ["vae_encode", "unet", "vae_decode", "window"]
    assert [row["stage"] for row in benchmark["rows"]] == [stage for stage in stages for _ in range(2)]
    for row in benchmark["rows"]:
        assert len(row["seconds"]) == len(row["cpu_seconds"]) == OPTIONS.repeats and min(row["seconds"]) > 0
        assert row["gflop"] > 0 and row["gbyte"] > 0 and row["made_frames"] == 2
        assert row["gflop_per_s"] == pytest.approx(row["gflop"] / row["median_s"])
        assert row["share_of_peak"] == pytest.approx(row["gflop_per_s"] / benchmark["peaks"]["float32"]["gemm"])
    for row in rows_of(benchmark, algorithm="plain"):
        assert row["times_faster"] == row["times_faster_cpu"] == 1 and row["difference"] == 0


def test_savings_save_operations_and_change_nothing(benchmark):
    for stage in ("unet", "window"):
        plain, saved = (rows_of(benchmark, stage=stage, algorithm=name)[0] for name in ("plain", "saved"))
        assert saved["gflop"] < plain["gflop"]
    assert all(row["difference"] < 1e-4 for row in rows_of(benchmark, algorithm="saved"))


def test_rounds_of_peaks_become_one_median_each(benchmark):
    assert len(benchmark["peak_rounds"]) == OPTIONS.repeats
    rounds = [
        [{"dtype": "float32", "kind": "gemm", "shape": shape, "rate": rate} for shape, rate in one]
        for one in ([("a", 1e9), ("b", 9e9)], [("a", 2e9), ("b", 1e9)], [("a", 3e9), ("b", 1e9)])
    ]
    assert measurement.best_peaks(rounds) == {"float32": {"gemm": 2.0}}


def test_a_window_of_a_large_network_is_computed_from_its_parts(monkeypatch):
    monkeypatch.setattr(measurement, "SMALL_NETWORK", 0)
    made = measure(replace(OPTIONS, savings=(), repeats=1, steps=20, fewer_steps=(2,)))
    seconds = {row["stage"]: row["seconds"][0] for row in made["rows"]}
    parts = seconds["vae_encode"] + 20 * seconds["unet"] + seconds["vae_decode"]
    assert seconds["window"] == pytest.approx(parts)
    assert [row["is_computed"] for row in made["rows"]] == [False, False, False, True, True]
    few = made["rows"][-1]
    assert few["seconds"][0] == pytest.approx(seconds["vae_encode"] + 2 * seconds["unet"] + seconds["vae_decode"])
    assert (few["stage"], few["steps"], few["compared_with"]) == ("window, 2 steps", 2, "window")
    assert few["times_faster"] == pytest.approx(seconds["window"] / few["seconds"][0])
    assert "window *" in text_of(made)


def test_the_figure_has_a_roofline_and_bars_for_each_model(benchmark):
    figure = speed_figure(benchmark)
    roof, bars = figure.axes
    assert len(bars.patches) == len(benchmark["rows"])
    marks = [line for line in roof.get_lines() if line.get_marker() != "None"]
    assert len(marks) == len(benchmark["rows"])
    assert all(line.get_ydata()[0] < max(roof.get_ylim()) for line in marks)


def test_the_pipeline_of_the_embedded_model_is_timed_stage_by_stage(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(measurement, "measure_peaks", lambda device, dtypes: [])
    made = measure(BenchmarkOptions(stages=("pipeline",), dtypes=(), savings=(), repeats=1, steps=1, voice_s=0.2))
    (row,) = made["rows"]
    assert row["made_frames"] == 5
    assert {"align", "encode", "denoise", "decode", "composite", "write", "total"} <= row["parts"].keys()
    assert "seconds of the pipeline's stages" in text_of(made)


@pytest.mark.gpu
def test_a_gpu_has_frames_a_second_memory_and_a_busy_share():
    if not torch.cuda.is_available():
        pytest.skip("there is no NVIDIA GPU")
    made = measure(replace(OPTIONS, device="cuda", dtypes=("bfloat16",)))
    for row in made["rows"]:
        assert row["frames_per_s"] > 0 and row["peak_gib"] > 0 and 0 < row["busy_share"] <= 1
    assert made["environment"]["device"] == torch.cuda.get_device_name() and "GPU busy" in text_of(made)


# --- the command ---


def test_the_command_writes_numbers_and_figure(tmp_path, capsys):
    output = tmp_path / "new" / "a.json"
    arguments = ["stages=[unet]", "dtypes=[]", "repeats=1", f"without=[{SAVINGS[0]}]", "--output", str(output)]
    assert main(arguments) == 0
    assert output.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"
    content = read_benchmark(output)
    assert content["savings"][SAVINGS[0]] is False and content["environment"]["torch"] == torch.__version__
    assert content == json.loads(output.read_text())
    assert f"{output} holds all numbers" in capsys.readouterr().out


def test_without_stages_there_are_only_peaks(tmp_path, capsys):
    output = tmp_path / "peaks.json"
    assert main(["stages=[]", "dtypes=[]", "repeats=1", "--output", str(output)]) == 0
    assert not output.with_suffix(".png").exists()
    assert read_benchmark(output)["rows"] == [] and "peak in float32" in capsys.readouterr().out


def test_two_benchmarks_are_compared(benchmark, tmp_path, capsys):
    other = json.loads(json.dumps(benchmark))
    for row in other["rows"]:
        row["median_s"] /= 2
    other["environment"]["threads"] = 99
    other["savings"]["in_place"] = False
    for name, content in (("a", benchmark), ("b", other)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    assert main(["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 0
    text = capsys.readouterr().out
    assert text.count(" 2.00 ") >= len(benchmark["rows"])
    assert "threads is" in text and "99 in the second" in text and "saved differ in in_place" in text


def test_what_cannot_be_compared_is_refused(benchmark, tmp_path, capsys):
    assert main(["compare", "a.json"]) == 2
    assert "compare got 1 files; give two" in capsys.readouterr().err
    with pytest.raises(MediaError, match="there is no file at"):
        read_benchmark(tmp_path / "none.json")
    path = tmp_path / "a.json"
    path.write_text('{"version": 1}')
    with pytest.raises(LatentSyncError, match="it is no benchmark, since it has no environment, peaks, rows"):
        read_benchmark(path)
    path.write_text(json.dumps(benchmark | {"version": 99}))
    with pytest.raises(OptionError, match="version 99, but this program reads 1"):
        read_benchmark(path)
    with pytest.raises(OptionError, match="no model and stage in common"):
        compare(benchmark, benchmark | {"rows": []})
