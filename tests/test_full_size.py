"""The published shapes in full, with seeded weights: memory of loading, and one window through the whole pipeline.

Not part of `make test`: it writes a checkpoint of 5 GB and runs for minutes. `make test-full-size` runs it.
"""

import json
import resource
import subprocess
import sys
import time

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file

from latentsync.config import Options, RuntimeOptions, SamplerOptions
from latentsync.model_files import SD_VAE
from latentsync.pipeline import LipsyncPipeline
from latentsync.unet_blocks import PositionalEncoding

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
        made = recipe.synth(name, shape, SEED, fp16=False)
        unet[name] = PositionalEncoding(shape[2], shape[1]).pe if made is None else made
    assert sum(tensor.numel() for tensor in unet.values()) == PARAMETERS
    torch.save({"global_step": 1, "state_dict": unet}, folder / "latentsync_unet.pt")
    whisper = recipe.synth_state_dict(shapes("whisper_tiny"), SEED)
    whisper["encoder.positional_embedding"] = 0.02 * torch.randn(1500, 384)
    torch.save({"dims": {}, "model_state_dict": whisper}, folder / "whisper.pt")
    with torch.device("meta"):
        vae_shapes = {n: tuple(t.shape) for n, t in AutoencoderKL.from_config(SD_VAE).state_dict().items()}
    save_file(recipe.synth_state_dict(vae_shapes, SEED), folder / "vae.safetensors")
    return folder


LOADING = """
import sys, threading
import torch
from latentsync.checkpoints import Place, load_unet

def anonymous_kib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))

peak, done = [0], threading.Event()
def watch():
    while not done.wait(0.01):
        peak[0] = max(peak[0], anonymous_kib())

baseline = anonymous_kib()
threading.Thread(target=watch, daemon=True).start()
unet = load_unet(sys.argv[1], place=Place(dtype=getattr(torch, sys.argv[2])))
done.set()
size = sum(tensor.nbytes for tensor in unet.state_dict().values())
print(max(peak[0], anonymous_kib()) * 1024 - baseline * 1024, size)
"""


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_loading_holds_the_model_once(checkpoints, dtype):
    answer = subprocess.run(
        [sys.executable, "-c", LOADING, str(checkpoints / "latentsync_unet.pt"), dtype],
        capture_output=True,
        text=True,
        check=True,
    )
    anonymous, size = map(int, answer.stdout.split())
    print(f"\n{dtype}: {anonymous / 2**20:.0f} MiB anonymous for a model of {size / 2**20:.0f} MiB")
    assert size == PARAMETERS * getattr(torch, dtype).itemsize
    assert anonymous <= MAX_ANONYMOUS * size


@pytest.mark.parametrize(("config", "size_px"), [("second_stage", 256), ("stage2_512", 512)], ids=["1.5", "1.6"])
def test_one_window_through_the_whole_pipeline(checkpoints, shared, tmp_path, config, size_px):
    """16 frames of a real face, 2 steps with guidance, bfloat16."""
    import scipy.io.wavfile

    rate_hz, sound = scipy.io.wavfile.read(shared / "media" / "g-demo1.wav")
    scipy.io.wavfile.write(tmp_path / "voice.wav", rate_hz, sound[: int(WINDOW_S * rate_hz)])
    start = time.perf_counter()
    pipe = LipsyncPipeline.from_checkpoint(
        checkpoints / "latentsync_unet.pt",
        f"conf/unet/{config}.yaml",
        "cpu",
        "bfloat16",
        vae=checkpoints / "vae.safetensors",
        whisper=checkpoints / "whisper.pt",
    )
    loaded_s = time.perf_counter() - start
    options = Options(SamplerOptions(guidance_scale=1.5, num_inference_steps=2), runtime=RuntimeOptions(batch_size=1))
    clip, voice = shared / "media" / "g-demo1.mp4", tmp_path / "voice.wav"
    resolved = pipe.resolve(options)
    assert (resolved.size_px, resolved.num_frames) == (size_px, 16)
    result = pipe.run(clip, voice, tmp_path / "out.mp4", tmp_path / "mask.mp4", options)
    assert result.num_frames == 16 and result.frames_without_face == 0
    assert len(list(result.frames)) == 16
    timings = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in result.timings.items())
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\n{size_px} px: loaded in {loaded_s:.1f} s; seconds: {timings}; peak {peak_mib:.0f} MiB resident so far")
