"""Values of a command line that are taken as they are: paths with any characters, and names like numbers."""

import unicodedata

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from latentsync.errors import OptionError
from latentsync.lab.commands.run import main
from latentsync.lab.options.compose import RUN, configured
from latentsync.lab.options.literal import PATHS, literal, text_keys
from latentsync.lab.options.schema import KINDS, ModelConfig, read_config
from latentsync.lab.sweeps.request import read
from latentsync.lab.training.options import TRAIN

NAMES = (
    "视频素材", "Clips (2024)", "José", "it's", 'a "b"', "a,b", "x=y", "a&b", "a#b", "[x]", "{x}", "50%", "a;b", "!?*",
    "3.10", "1e5", "2024_01", "null", "true", " spaces  ", "a\\b", "tail\\", "${x}", "a\\${x}", "choice(a,b)",
    "'quoted'", "~", "-m", "é".encode("latin-1").decode("utf-8", "surrogateescape"),
)  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()


def value_of(*arguments):
    return read_config(configured(list(arguments)))


def read_by_hydra(argument):
    override = OverridesParser.create().parse_override(argument)
    assert not override.is_sweep_override()
    return OmegaConf.create({"value": override.value()}).value


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_is_taken_as_it_is_called(name, tmp_path):
    (tmp_path / name).mkdir()
    for given in (str(tmp_path / name), f"./{name}", f"{tmp_path}/{name}/"):
        for sweep in ([], ["-m"]):
            argument = literal([f"data.input_dir={given}", *sweep], RUN.texts)[0]
            assert read_by_hydra(argument) == given
            assert literal([argument], RUN.texts) == [argument]  # once is enough


@pytest.mark.parametrize("name", ["视频 (1)", "a,b=${c} 'd'\\e"])
def test_a_run_reads_a_folder_as_it_is_called(name, tmp_path):
    folder = tmp_path / name
    folder.mkdir()
    for file in ("clip.mp4", "voice.wav"):
        (folder / file).touch()
    request = read(
        ["-m", *literal(["data=folder", f"data.input_dir={folder}", f"runs_dir={tmp_path}/it's"], RUN.texts)]
    )
    assert [run.data.input_dir for run in request.runs] == [str(folder)]
    assert request.sweep_dir == tmp_path / "it's" / "sweeps" / "default"


@pytest.mark.parametrize("name", ["3.10", "1e5", "2024_01", "007", "true", "x=y", "José (1)", "视频", "0x1F", "inf"])
def test_a_name_like_a_number_stays_a_name(name):
    assert read_by_hydra(*literal([f"name={name}"], RUN.texts)) == name
    assert read_by_hydra(*literal([f"name='{name}'"], RUN.texts)) == name


def test_a_sweep_has_the_name_that_was_given():
    assert value_of("name=3.10").name == "3.10"


def test_null_stays_no_name():
    with pytest.raises(OptionError, match="name"):
        value_of("name=null")


def test_commas_separate_the_values_of_a_sweep_but_not_a_name_that_exists(tmp_path):
    for name in ("a", "b,c", "d"):
        (tmp_path / name).mkdir()
    assert literal(["-m", "data.input_dir=a,b,c,d"], RUN.texts) == ["-m", "data.input_dir=a,'b,c',d"]
    assert literal(["-m", "data.input_dir='a','b,c'"], RUN.texts) == ["-m", "data.input_dir='a','b,c'"]
    assert literal(["data.input_dir=x,y"], RUN.texts) == ["data.input_dir='x,y'"]
    assert literal(["-m", "data.input_dir=x,y"], RUN.texts) == ["-m", "data.input_dir=x,y"]
    assert literal(["-m", "data.split=1.0,train"], RUN.texts) == ["-m", "data.split='1.0',train"]
    with pytest.raises(OptionError, match="several values"):
        configured(["data=folder", "data.input_dir=a,d"])


def test_what_hydra_reads_unchanged_keeps_its_spelling():
    plain = ["data.input_dir=/data/my-clips_1", "name=a b", "sampler.seed=1,2", "model=mini", "--config-dir=a=b",
             "runs_dir=${oc.env:HOME}/runs", "data.list=", "~data.list", "model.pretrained=null"]  # fmt: skip
    assert literal(plain, RUN.texts) == plain


def test_a_tilde_is_the_home_folder_and_accents_match_in_both_forms(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "Zoë") for form in ("NFC", "NFD"))
    (tmp_path / "home" / decomposed).mkdir()
    config = value_of("data=folder", f"data.input_dir=~/{composed}", "runs_dir=~/runs")
    assert config.data.input_dir == str(tmp_path / "home" / decomposed)
    assert config.runs_dir == tmp_path / "home" / "runs"
    assert ModelConfig(pretrained=f"~/{composed}").pretrained == str(tmp_path / "home" / decomposed)
    assert ModelConfig().pretrained == "mini"


def test_every_path_is_an_option_that_holds_a_text():
    assert not PATHS - RUN.texts - TRAIN.texts
    assert {"name", "data.split", "tracker.project", "launch.partition"} <= text_keys(KINDS.items())
    assert not {"sampler.seed", "plan", "sampler.guidance_interval"} & RUN.texts


def test_a_folder_that_does_not_exist_is_named_and_not_taken_for_a_sweep(capsys):
    assert main(["data=folder", "data.input_dir=/no/a,b"]) == 2
    assert "no folder at /no/a,b;" in capsys.readouterr().err
