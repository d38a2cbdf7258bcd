"""Reading files of tensors: what is damaged, foreign or dangerous is refused in a sentence, and nothing is executed."""

import random

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from latentsync.audio.whisper_files import load_whisper
from latentsync.errors import WeightsError
from latentsync.weights.tensors import Place, load_exactly, read_state_dict, renamed


def tensors():
    return {f"layers.{i}.weight": torch.full((5, i + 1), float(i)) for i in range(8)}


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_wrapped_prefixed_and_misnamed_files_are_read(tmp_path, wrapper, prefix):
    content = {prefix + name: tensor for name, tensor in tensors().items()}
    torch.save({wrapper: content, "global_step": 3} if wrapper else content, tmp_path / "model.pt")
    save_file(content, tmp_path / "really_safetensors.pt")
    for name in ("model.pt", "really_safetensors.pt"):
        state_dict = read_state_dict(tmp_path / name)
        assert state_dict.keys() == tensors().keys()
        assert all(torch.equal(state_dict[name], tensor) for name, tensor in tensors().items())


def test_a_file_cannot_run_code_and_nobody_is_told_to_let_it(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    for zipped in (True, False):
        torch.save({"state_dict": Bomb()}, tmp_path / "bomb.pt", _use_new_zipfile_serialization=zipped)
        with pytest.raises(WeightsError, match=r"bomb.pt is refused: .*open") as caught:
            read_state_dict(tmp_path / "bomb.pt")
        assert "weights_only" not in str(caught.value)
        assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_damaged_files_are_refused_and_never_crash(tmp_path, form):
    whole = tmp_path / ("whole.safetensors" if form == "safetensors" else "whole.pt")
    if form == "safetensors":
        save_file(tensors(), whole)
    else:
        torch.save(tensors(), whole, _use_new_zipfile_serialization=form == "zip")
    content, draw = whole.read_bytes(), random.Random(1)  # noqa: S311 - numbers for a test
    refused = 0
    for trial in range(150):
        damaged = bytearray(content[: draw.randrange(1, len(content))] if trial % 2 else content)
        for _ in range(draw.randrange(0, 4)):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        path = tmp_path / f"damaged{trial}{whole.suffix}"
        path.write_bytes(damaged)
        try:
            read_state_dict(path)  # a changed number looks like any other
        except WeightsError as error:
            assert path.name in str(error) and "weights_only" not in str(error)
            refused += 1
    assert refused > 70  # all that were cut


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS .*git lfs pull"),
        (b"<!DOCTYPE html><html>", "web page; download the file"),
        (b"", "not a readable file of tensors"),
        (b"not a checkpoint", "not a readable file of tensors"),
    ],
)
def test_what_is_no_tensor_file_is_told(tmp_path, content, message):
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(WeightsError, match=f"model.pt is .*{message}"):
        read_state_dict(tmp_path / "model.pt")
    with pytest.raises(WeightsError, match="absent.pt"):
        read_state_dict(tmp_path / "absent.pt")


@pytest.mark.parametrize("content", [{1: torch.zeros(2)}, {"a": 3}, {}, torch.zeros(2)])
def test_what_is_no_state_dict_is_told(tmp_path, content):
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(WeightsError, match="model.pt holds no state dict"):
        read_state_dict(tmp_path / "model.pt")


def test_two_tensors_with_one_name_are_refused(tmp_path):
    torch.save({"module.a": torch.zeros(1), "a": torch.ones(1)}, tmp_path / "twice.pt")
    with pytest.raises(WeightsError, match="twice.pt .* module.a and as a"):
        read_state_dict(tmp_path / "twice.pt")
    assert renamed({"a": 1, "b": 2}, str.upper, "x") == {"A": 1, "B": 2}


def test_a_network_is_loaded_whole_or_not_at_all():
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    whole = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    loaded = load_exactly(network, whole, "file", Place(dtype=torch.bfloat16))
    assert not loaded.training and loaded[0].weight.dtype == torch.bfloat16
    assert loaded[1].num_batches_tracked.dtype == torch.int64  # whole numbers stay whole
    for change, message in (
        ({"0.weight": None}, r"1 missing \(0.weight\)"),
        ({"more": torch.zeros(1)}, r"1 unexpected \(more\)"),
        ({"0.bias": torch.zeros(7)}, r"another shape \(0.bias \(7,\) instead of \(3,\)\)"),
    ):
        changed = {name: tensor for name, tensor in {**whole, **change}.items() if tensor is not None}
        with pytest.raises(WeightsError, match=f"^file .* {message}"):
            load_exactly(network, changed, "file")


def test_odd_whisper_files_are_refused(tmp_path):
    save_file({"encoder.conv1.weight": torch.zeros(())}, tmp_path / "scalar.safetensors")
    (tmp_path / "other.bin").write_bytes(  # CTranslate2, version 6, without variables
        b"\x06\x00\x00\x00" + b"\x05\x00spec\x00" + b"\x01\x00\x00\x00" + b"\x00\x00\x00\x00"
    )
    with pytest.raises(WeightsError, match="scalar.safetensors holds no Whisper encoder"):
        load_whisper(tmp_path / "scalar.safetensors")
    with pytest.raises(WeightsError, match="other.bin .* not a Whisper"):
        load_whisper(tmp_path / "other.bin")
