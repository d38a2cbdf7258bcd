"""Recognising checkpoint files and refusing what does not fit, by name."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from latentsync.checkpoints import model as model_files
from latentsync.checkpoints.model import SD_VAE, load_folder, load_published, seeded
from latentsync.checkpoints.unet import detect_unet, load_unet, modern_vae_names, read_unet_config, rename_1_0
from latentsync.config import ATTENTION_BACKENDS
from latentsync.errors import LatentSyncError, OptionError, WeightsError
from latentsync.pipeline import LipsyncPipeline
from latentsync.unet.model import UNet3DConditionModel, published_config
from latentsync.weights import locate
from latentsync.weights.tensors import Place, read_state_dict

CONFIG = {
    "block_out_channels": [32, 64],
    "down_block_types": ["CrossAttnDownBlock3D", "DownBlock3D"],
    "up_block_types": ["UpBlock3D", "CrossAttnUpBlock3D"],
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "add_audio_layer": True,
}
TO_1_0 = ((".norm2.", ".audio_cross_attn.norm."), (".attn2.", ".audio_cross_attn.attn."))


def checkpoint(path, config=CONFIG, rename=()):
    """Writes a seeded UNet as the original does; `rename`: old and new parts of the names of transformer blocks."""
    unet = seeded(UNet3DConditionModel, {k: v for k, v in config.items() if k != "add_audio_layer"}, seed=1)
    state_dict = unet.state_dict()
    for old, new in rename:
        state_dict = {n.replace(old, new) if "transformer_blocks" in n else n: t for n, t in state_dict.items()}
    torch.save({"global_step": 1, "state_dict": state_dict}, path)
    return unet


def test_an_original_checkpoint_loads_exactly(tmp_path):
    unet = checkpoint(tmp_path / "latentsync_unet.pt")
    loaded = load_unet(tmp_path / "latentsync_unet.pt", CONFIG)
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in unet.state_dict().items())


def test_the_names_of_1_0_are_understood(tmp_path):
    config = {**CONFIG, "use_motion_module": False, "custom_audio_layer": False}
    unet = checkpoint(tmp_path / "v10.pt", {k: v for k, v in config.items() if k != "custom_audio_layer"}, TO_1_0)
    assert detect_unet(read_state_dict(tmp_path / "v10.pt"), "v10.pt").version == "1.0"
    loaded = load_unet(tmp_path / "v10.pt", config)
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in unet.state_dict().items())


def test_tensors_go_straight_to_their_place(tmp_path):
    unet = checkpoint(tmp_path / "unet.pt")
    loaded = load_unet(tmp_path / "unet.pt", CONFIG, Place(dtype=torch.bfloat16))
    assert {tensor.dtype for tensor in loaded.state_dict().values()} == {torch.bfloat16}
    assert torch.equal(loaded.conv_in.weight, unet.conv_in.weight.bfloat16())


@pytest.mark.parametrize("variant", ["v10", "v15", "v16", "v16_stage1", "v16_stage2", "v16_stage2_efficient"])
def test_the_variant_is_recognised_from_the_tensors(shared, variant):
    shapes = json.loads((shared / "keys" / f"keys_unet_{variant}.json").read_text())
    network = detect_unet({name: torch.empty(shape, device="meta") for name, shape in shapes.items()}, variant)
    assert (network.version == "1.0") == (variant == "v10")
    with torch.device("meta"):
        unet = UNet3DConditionModel(**network.config())
    assert {name: list(tensor.shape) for name, tensor in unet.state_dict().items()} == rename_1_0(shapes)


@pytest.mark.parametrize("name", sorted(path.name for path in Path("conf/unet").glob("*.yaml")))
def test_every_configuration_in_conf_is_a_published_network(shared, name):
    variants = {
        "second_stage.yaml": ("v15", 256),
        "second_stage_1_0.yaml": ("v10", 256),
        "stage1.yaml": ("v16_stage1", 256),
        "stage2_512.yaml": ("v16", 512),
        "stage2_efficient.yaml": ("v16_stage2_efficient", 256),
    }
    variant, size_px = variants[name]
    config = read_unet_config(Path("conf/unet") / name)
    assert config["data"]["resolution"] == size_px
    with torch.device("meta"):
        unet = UNet3DConditionModel(**published_config(config["model"]))
    expected = rename_1_0(json.loads((shared / "keys" / f"keys_unet_{variant}.json").read_text()))
    assert {name: list(tensor.shape) for name, tensor in unet.state_dict().items()} == expected


ORIGINALS_SCHEMA = """
data:
  syncnet_config_path: configs/syncnet/syncnet_16_pixel_attn.yaml
  num_frames: 16
  resolution: 512
  mask_image_path: latentsync/utils/mask2.png
  audio_sample_rate: 16000
  video_fps: 25
  audio_feat_length: [2, 2]
run:
  guidance_scale: 1.5
  trainable_modules:
    - motion_modules.
optimizer:
  lr: 1e-5
model:
  act_fn: silu
  add_audio_layer: true
  block_out_channels: [32, 64]
  down_block_types: ["CrossAttnDownBlock3D", "DownBlock3D"]
  up_block_types: ["UpBlock3D", "CrossAttnUpBlock3D"]
  layers_per_block: 1
  norm_eps: 1e-5
  norm_num_groups: 8
"""


def test_the_originals_own_yaml_is_understood(tmp_path, monkeypatch):
    """Its sections for training are passed over; 1e-5 is a number, though YAML 1.1 says it is not."""
    (tmp_path / "stage2_512.yaml").write_text(ORIGINALS_SCHEMA)
    checkpoint(tmp_path / "unet.pt")
    monkeypatch.setattr(model_files, "load_sd_vae", lambda *_: None)
    monkeypatch.setattr(model_files, "load_whisper", lambda whisper: None)
    parts = load_published(tmp_path / "unet.pt", tmp_path / "stage2_512.yaml")
    assert parts["unet"].config.norm_eps == 1e-5
    settings = parts["settings"]
    assert (settings.size_px, settings.num_frames, settings.mask, settings.whisper) == (512, 16, "mask2", "tiny")


def test_a_1_0_file_with_the_configuration_of_1_6_is_refused(tmp_path):
    config = {**CONFIG, "use_motion_module": False}
    checkpoint(tmp_path / "v10.pt", config, TO_1_0)
    with pytest.raises(WeightsError, match=r"LatentSync 1.0.* modules all .* none"):
        load_unet(tmp_path / "v10.pt", CONFIG)


def test_a_whisper_that_the_unet_was_not_trained_with_is_refused(tmp_path, monkeypatch):
    """The carrier's tiny.en has the shape of the multilingual tiny, and other numbers."""
    vae = load_folder("mini")["vae"]
    monkeypatch.setattr(model_files, "load_sd_vae", lambda *_: vae)
    for width in (384, 768):
        config = {**CONFIG, "cross_attention_dim": width}
        checkpoint(tmp_path / f"{width}.pt", config)
        (tmp_path / f"{width}.yaml").write_text(json.dumps({"model": config}))
    with pytest.raises(WeightsError, match=r"Whisper tiny, .*whisper/tiny.pt"):
        LipsyncPipeline.from_checkpoint(tmp_path / "384.pt", tmp_path / "384.yaml", "cpu", whisper="tiny.en")
    with pytest.raises(OptionError, match="states are 384 wide, .* takes 768"):
        LipsyncPipeline.from_checkpoint(tmp_path / "768.pt", tmp_path / "768.yaml", "cpu", whisper="tiny.en")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_motion_module": False}, "modules none .* has all"),
        ({"cross_attention_dim": 768}, "cross_attention_dim 768 .* has 384"),
        ({"block_out_channels": [32, 96]}, r"block_out_channels \[32, 96\]"),
        ({"layers_per_block": 2}, r"missing \(down_blocks.0.attentions.1"),
    ],
)
def test_a_checkpoint_that_does_not_fit_its_configuration_is_refused(tmp_path, change, message):
    checkpoint(tmp_path / "unet.pt")
    with pytest.raises(WeightsError, match=message):
        load_unet(tmp_path / "unet.pt", {**CONFIG, **change})


def test_what_is_no_unet_is_refused_by_name(tmp_path):
    for name, tensors in (
        ("foreign", {"conv_in.weight": torch.zeros(1)}),
        ("flat", {"conv_in.weight": torch.zeros(4), "down_blocks.0.attn2.to_k.weight": torch.zeros(3, 384)}),
        ("scalar", {"conv_in.weight": torch.zeros(1, 13, 3, 3), "down_blocks.0.attn2.to_k.weight": torch.zeros(())}),
    ):
        save_file(tensors, tmp_path / f"{name}.safetensors")
        with pytest.raises(WeightsError, match=f"{name}.safetensors holds no LatentSync UNet"):
            load_unet(tmp_path / f"{name}.safetensors", CONFIG)


def test_names_of_two_versions_in_one_file_are_refused(tmp_path):
    unet = checkpoint(tmp_path / "v10.pt", {**CONFIG, "use_motion_module": False}, TO_1_0)
    both = {**unet.state_dict(), **read_state_dict(tmp_path / "v10.pt")}
    torch.save(both, tmp_path / "both.pt")
    with pytest.raises(WeightsError, match=r"both.pt .*norm2.* twice"):
        load_unet(tmp_path / "both.pt", {**CONFIG, "use_motion_module": False})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"resolution": 250}, "width is 250"),
        ({"resolution": True}, "width is True"),
        ({"num_frames": 0}, "num_frames is 0"),
        ({"num_frames": "16"}, "num_frames is '16'"),
        ({"mask_image_path": "masks/nose.png"}, "mask 'nose' is unknown"),
        ({"mask_image_path": 2}, "mask_image_path 2; a file name"),
        ({"video_fps": 30}, "video_fps 30; .* 25"),
        ([1], r"is \[1\]"),
    ],
)
def test_an_odd_data_part_is_refused_before_anything_is_read(tmp_path, data, message):
    (tmp_path / "odd.yaml").write_text(json.dumps({"model": {}, "data": data}))
    with pytest.raises(OptionError, match=f"odd.yaml.*{message}"):
        load_published(tmp_path / "absent.pt", tmp_path / "odd.yaml")


def test_published_weights_that_are_missing_are_named_with_their_source(tmp_path, monkeypatch):
    whisper = locate("whisper/tiny.en.ctranslate2.bin").resolve()
    monkeypatch.setenv("LATENTSYNC_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    checkpoint(tmp_path / "unet.pt")
    (tmp_path / "small.yaml").write_text(json.dumps({"data": {"resolution": 256}, "model": CONFIG}))
    with pytest.raises(WeightsError, match=r"whisper/tiny.pt .* download https://"):
        load_published(tmp_path / "unet.pt", tmp_path / "small.yaml")
    with pytest.raises(WeightsError, match=r"vae/diffusion_pytorch_model.safetensors .* download https://"):
        load_published(tmp_path / "unet.pt", tmp_path / "small.yaml", whisper=whisper)
    (tmp_path / "empty.yaml").write_text("data: {}")
    with pytest.raises(OptionError, match="no `model:` part"):
        load_published(tmp_path / "unet.pt", tmp_path / "empty.yaml")


def test_the_vae_is_the_published_one_under_old_and_new_names(shared):
    from diffusers import AutoencoderKL

    expected = json.loads((shared / "keys" / "keys_vae.json").read_text())
    with torch.device("meta"):
        names = {n: list(t.shape) for n, t in AutoencoderKL.from_config(SD_VAE).state_dict().items()}
    assert set(modern_vae_names(dict.fromkeys(expected))) == set(names)
    old = {"encoder.mid_block.attentions.0.query.weight": 1, "decoder.mid_block.attentions.0.proj_attn.bias": 2}
    assert modern_vae_names(old) == {
        "encoder.mid_block.attentions.0.to_q.weight": 1,
        "decoder.mid_block.attentions.0.to_out.0.bias": 2,
    }


def test_an_unknown_model_is_refused_with_what_there_is(tmp_path):
    with pytest.raises(WeightsError, match="shipped models: mini"):
        load_folder(tmp_path / "nothing")


def test_xformers_is_refused_in_a_sentence_where_it_cannot_run():
    from latentsync.unet.attention import check_backend

    assert ATTENTION_BACKENDS == ("sdpa", "xformers")
    with pytest.raises(LatentSyncError, match="device is cpu; use attention=sdpa"):
        check_backend("xformers", "cpu")
