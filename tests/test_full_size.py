"""The published shapes in full, with seeded weights: memory of loading, and one window through the whole pipeline.

Not part of `make test`: it writes a checkpoint of 5 GB and runs for minutes. `make test-full-size` runs it.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import scipy.io.wavfile
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file

from latentsync.checkpoints.model import SD_VAE
from latentsync.media import probe
from latentsync.unet.blocks import PositionalEncoding

pytestmark = pytest.mark.full_size
SEED = 1247
PARAMETERS = 1_267_944_644  # of 1.5 and 1.6
WINDOW_S = 16 / 25
MAX_ANONYMOUS = 1.3  # times the model in its target dtype


@pytest.fixture(scope="module")
def checkpoints(shared, recipe, tmp_path_factory):
    """Files in the published layout, seeded: latentsync_unet.pt, whisper.pt, vae.safetensors."""
    folder = tmp_path_factory.mktemp("checkpoints")

    def shapes(name):
        return json.loads((shared / "keys" / f"keys_{name}.json").read_text())

    unet = {}
    for name, shape in shapes("unet_v16").items():
        file = recipe.synth(name, shape, SEED, fp16=False)
        unet[name] = PositionalEncoding(shape[2], shape[1]).pe if file is None else file
    assert sum(tensor.numel() for tensor in unet.values()) == PARAMETERS
    torch.save({"global_step": 1, "state_dict": unet}, folder / "latentsync_unet.pt")
    whisper = recipe.synth_state_dict(shapes("whisper_tiny"), SEED)
    whisper["encoder.positional_embedding"] = 0.02 * torch.randn(1500, 384)
    torch.save({"dims": {}, "model_state_dict": whisper}, folder / "whisper.pt")
    with torch.device("meta"):
        vae_shapes = {n: tuple(t.shape) for n, t in AutoencoderKL.from_config(SD_VAE).state_dict().items()}
    save_file(recipe.synth_state_dict(vae_shapes, SEED), folder / "vae.safetensors")
    return folder


def measured(command: list[str]) -> tuple[str, float, int, int]:
    """Runs a program; gives its output, its seconds, and the peaks of its anonymous and of all its resident bytes.

    Pages of mapped files are resident, too; the system takes them back when it needs them.
    """
    start, anonymous = time.perf_counter(), 0
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    status = Path(f"/proc/{process.pid}/status")
    memory = {}
    while process.poll() is None:
        lines = (line.split() for line in status.read_text().splitlines())
        memory = {parts[0]: int(parts[1]) * 1024 for parts in lines if parts[0] in ("RssAnon:", "VmHWM:")} or memory
        anonymous = max(anonymous, memory.get("RssAnon:", 0))
        time.sleep(0.02)
    assert process.returncode == 0
    return process.stdout.read(), time.perf_counter() - start, anonymous, memory["VmHWM:"]


LOADING = """
import sys
import torch
from latentsync.checkpoints.unet import load_unet
from latentsync.weights.tensors import Place

def anonymous_kib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))

baseline = anonymous_kib()
unet = load_unet(sys.argv[1], place=Place(dtype=getattr(torch, sys.argv[2])))
print(baseline * 1024, sum(tensor.nbytes for tensor in unet.state_dict().values()))
"""


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_loading_holds_the_model_once(checkpoints, dtype):
    command = [sys.executable, "-c", LOADING, str(checkpoints / "latentsync_unet.pt"), dtype]
    printed, _, anonymous, _ = measured(command)
    baseline, size = map(int, printed.split())
    above = anonymous - baseline
    print(f"\n{dtype}: {above / 2**20:.0f} MiB anonymous for a model of {size / 2**20:.0f} MiB")
    assert size == PARAMETERS * getattr(torch, dtype).itemsize
    assert above <= MAX_ANONYMOUS * size


@pytest.mark.parametrize(("config", "size_px"), [("second_stage", 256), ("stage2_512", 512)], ids=["1.5", "1.6"])
def test_one_window_through_the_folder_command(checkpoints, shared, tmp_path, config, size_px):
    """16 frames of a real face, 2 steps with guidance, bfloat16."""
    folder, out = tmp_path / "clips", tmp_path / "out"
    folder.mkdir()
    (folder / "g-demo1.mp4").symlink_to(shared / "media" / "g-demo1.mp4")
    rate_hz, sound = scipy.io.wavfile.read(shared / "media" / "g-demo1.wav")
    scipy.io.wavfile.write(folder / "g-voice.wav", rate_hz, sound[: int(WINDOW_S * rate_hz)])
    command = [sys.executable, "-m", "latentsync", "batch", "--input_dir", folder, "--output_dir", out]
    command += ["--inference_ckpt_path", checkpoints / "latentsync_unet.pt", "--unet_config_path", config]
    command += [f"model.vae={checkpoints / 'vae.safetensors'}", f"model.whisper={checkpoints / 'whisper.pt'}"]
    command += ["sampler.num_inference_steps=2", "runtime.dtype=bfloat16", "runtime.device=cpu", "metrics=none"]
    _, seconds, anonymous, resident = measured(list(map(str, command)))
    done = json.loads((out / "g-demo1__g-voice.json").read_text())
    assert done["options"]["size_px"] == size_px and done["options"]["num_frames"] == 16
    assert done["video"] == {"num_frames": 16, "fps": 25, "frames_without_face": 0}
    assert probe(out / "g-demo1__g-voice_out.mp4").num_frames == 16
    timings = ", ".join(f"{stage} {value:.1f}" for stage, value in done["timings_s"].items())
    print(
        f"\n{size_px} px: {seconds:.0f} s in all; seconds of stages: {timings}; "
        f"peak {anonymous / 2**20:.0f} MiB anonymous, {resident / 2**20:.0f} MiB resident with mapped files"
    )
