"""Checkpoints become `.safetensors` with the same tensors, from any form of file."""

import hashlib

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from latentsync.checkpoints import convert
from latentsync.checkpoints.convert import to_safetensors
from latentsync.config import DTYPES
from latentsync.errors import OptionError, WeightsError
from latentsync.lab.commands.weights import main
from latentsync.weights import state_dict_sha256

TENSORS = {
    "conv.weight": torch.linspace(-1, 1, 24).reshape(2, 3, 4),
    "down.audio_cross_attn.attn.to_q.weight": torch.ones(3, 2, dtype=torch.float16),
    "bn.num_batches_tracked": torch.tensor(7),
}


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".model", ".safetensors"])
@pytest.mark.parametrize("form", ["plain", "wrapped", "parallel", "old"])
def test_every_form_gives_the_same_tensors(tmp_path, suffix, form):
    source = tmp_path / f"checkpoint{suffix}"
    content = {f"module.{name}": tensor for name, tensor in TENSORS.items()} if form == "parallel" else TENSORS
    if suffix == ".safetensors":
        save_file(TENSORS, source)
    else:
        wrapped = {"state_dict": content, "global_step": 1} if form == "wrapped" else content
        torch.save(wrapped, source, _use_new_zipfile_serialization=form != "old")
    result = to_safetensors(source, tmp_path / "out" / "converted.safetensors")
    assert result.tensors == 3 and result.size_bytes == result.path.stat().st_size
    assert state_dict_sha256(load_file(result.path)) == state_dict_sha256(TENSORS)


def test_the_file_says_where_it_comes_from(tmp_path):
    source = tmp_path / "checkpoint.pt"
    torch.save(TENSORS, source)
    result = to_safetensors(source)
    assert result.path == tmp_path / "checkpoint.safetensors"
    with safe_open(result.path, "pt") as file:
        assert file.metadata() == {
            "format": "pt",
            "source": "checkpoint.pt",
            "source_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
            "dtype": "as in the source",
        }


@pytest.mark.parametrize("dtype", DTYPES)
def test_floats_are_cast_and_integers_are_not(tmp_path, dtype):
    torch.save(TENSORS, tmp_path / "checkpoint.pt")
    result = to_safetensors(tmp_path / "checkpoint.pt", dtype=dtype)
    loaded = load_file(result.path)
    assert torch.equal(loaded["conv.weight"], TENSORS["conv.weight"].to(getattr(torch, dtype)))
    assert (
        loaded["conv.weight"].dtype == getattr(torch, dtype) and loaded["bn.num_batches_tracked"].dtype == torch.int64
    )
    with safe_open(result.path, "pt") as file:
        assert file.metadata()["dtype"] == dtype


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_shared_and_strided_tensors_keep_their_numbers(tmp_path):
    block = torch.arange(12.0)
    content = {
        "tied.a": block,
        "tied.b": block,
        "view.start": block[:4],
        "view.end": block[8:],
        "view.reshaped": block.view(3, 4),
        "turned": block.view(3, 4).T,
        "sparse": torch.eye(3).to_sparse(),
        "conjugated": torch.tensor([1 + 2j]).conj(),
        "empty": torch.empty(0, 3),
        "also_empty": torch.empty(0),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    torch.save(content, tmp_path / "checkpoint.pt")
    loaded = load_file(to_safetensors(tmp_path / "checkpoint.pt").path)
    assert set(loaded) == set(content)
    for name, tensor in content.items():
        assert torch.equal(loaded[name], tensor.to_dense() if tensor.is_sparse else tensor.data), name


def test_nothing_is_executed(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    torch.save({"state_dict": Bomb()}, tmp_path / "bomb.pt")
    with pytest.raises(WeightsError, match="bomb.pt"):
        to_safetensors(tmp_path / "bomb.pt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bomb.pt"]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_tensors_that_the_format_does_not_know_are_refused(tmp_path):
    torch.save({"a": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)}, tmp_path / "quantised.pt")
    torch.save({"a": torch.ones(2, device="meta")}, tmp_path / "meta.pt")
    for name in ("quantised", "meta"):
        with pytest.raises(WeightsError, match=f"{name}.safetensors cannot hold these tensors"):
            to_safetensors(tmp_path / f"{name}.pt")


def test_an_existing_file_is_kept(tmp_path):
    torch.save(TENSORS, tmp_path / "checkpoint.pt")
    (tmp_path / "checkpoint.safetensors").write_text("mine")
    with pytest.raises(OptionError, match=r"checkpoint.safetensors exists; give --force"):
        to_safetensors(tmp_path / "checkpoint.pt")
    assert (tmp_path / "checkpoint.safetensors").read_text() == "mine"
    assert len(load_file(to_safetensors(tmp_path / "checkpoint.pt", overwrite=True).path)) == 3
    with pytest.raises(OptionError, match="overwrite itself; name another file"):
        to_safetensors(tmp_path / "checkpoint.safetensors", overwrite=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "int8"}, "dtype 'int8' .*float32, bfloat16, float16"),
        ({"output": "out.bin"}, "out.bin must end in .safetensors"),
    ],
)
def test_options_are_checked_before_anything_is_read(tmp_path, options, message):
    with pytest.raises(OptionError, match=message):
        to_safetensors(tmp_path / "absent.pt", **options)


def test_a_file_that_fails_leaves_nothing(tmp_path, monkeypatch):
    torch.save(TENSORS, tmp_path / "checkpoint.pt")

    def full(tensors, path, metadata):
        path.write_bytes(b"part")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(convert, "save_file", full)
    with pytest.raises(WeightsError, match=r"checkpoint.safetensors .*No space left"):
        to_safetensors(tmp_path / "checkpoint.pt")
    monkeypatch.setattr(convert.shutil, "disk_usage", lambda _: convert.shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(WeightsError, match=r"checkpoint.safetensors needs 116 bytes .* 0 bytes free"):
        to_safetensors(tmp_path / "checkpoint.pt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pt"]


def test_the_command_tells_what_it_wrote(tmp_path, capsys):
    torch.save(TENSORS, tmp_path / "checkpoint.pt")
    output = tmp_path / "half.safetensors"
    command = ["convert", str(tmp_path / "checkpoint.pt"), "--output", str(output), "--dtype", "bfloat16"]
    assert main(command) == 0
    assert capsys.readouterr().out == f"{output}: 3 tensors, {output.stat().st_size:,} bytes\n"
    assert main(command) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {output} exists; ") and "--force" in error and "--output" in error
    assert main([*command, "--force"]) == 0
    assert main(["convert", str(tmp_path / "absent.pt")]) == 1
    assert "absent.pt" in capsys.readouterr().err
