"""Hydra as its users know it: what a command line refuses before anything is stored, help, groups, and completion."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import OmegaConf

from latentsync.__main__ import main
from latentsync.config import SECTIONS
from latentsync.errors import OptionError
from latentsync.lab.commands import names
from latentsync.lab.commands.completion import SCRIPTS, completions
from latentsync.lab.commands.run import LOADING
from latentsync.lab.options import CONF_DIR
from latentsync.lab.options.cells import CellConfigs
from latentsync.lab.options.compose import RUN, cells_of, composed, composing
from latentsync.lab.options.reference import options_page, run_help
from latentsync.lab.options.schema import KINDS, read_config
from latentsync.lab.options.sources import CONFIG_NAME, read_command_line
from latentsync.lab.options.typed import dotted
from latentsync.lab.sweeps import plan, request
from latentsync.option import section_infos

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SENTENCE = re.compile(r"error: [^\n]+\n")


@pytest.fixture
def refused(tmp_path, monkeypatch, capfd):
    """Runs a command line in an empty folder: what it prints on stderr, if it ends with one line and status 2, and
    leaves nothing behind. `shown` is what stdout has."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments, shown=""):
        (tmp_path / "file").write_text("clip,voice\nnot,there,many\n")
        monkeypatch.setattr(sys, "argv", ["latentsync", "run", *arguments])
        try:
            status = main(["run", *arguments])
        except SystemExit as end:
            status = end.code
        output = capfd.readouterr()
        assert status == 2 and output.out == shown and SENTENCE.fullmatch(output.err), (status, output)
        assert [path.name for path in tmp_path.rglob("*")] == ["file"]
        return output.err

    return call


# --- refused before anything is stored ---

WRONG_VALUES = [
    ("sampler.guidance_scale=abc", "sampler.guidance_scale is 'abc'", "at least 0", "1.3 to 1.8"),
    ("sampler.guidance_scale=-1", "guidance_scale is -1", "at least 0", "1.3 to 1.8"),
    ("sampler.seed=1.5", "sampler.seed is 1.5", "a whole number from 0"),
    ("sampler.guidance_interval=3", "sampler.guidance_interval is 3", "a list of numbers"),
    ("sampler.rng=global", "rng 'global'", "own, reference"),
    ("metrics.lpips=maybe", "metrics.lpips is 'maybe'", "true or false"),
    ("plan=maybe", "plan is 'maybe'", "true or false"),
    ("retry=all", "retry 'all'", "failed"),
    ("tracker.mode=sometimes", "tracker.mode 'sometimes'", "offline, online"),
    ("cache.max_gb=-1", "cache.max_gb is -1", "at least 0"),
    ("video.width=100", "width is 100", "a multiple of 8"),
    ("video=5", "video is 5", "video.width=VALUE"),
    ("name=../x", "'../x'", "plain folder name"),
    ("runs_dir=file", "runs_dir is file", "file is a file", "another folder"),
    ("data.input_dir=/nope", "/nope", "give a folder"),
    ("data=list data.list=/nope.csv", "/nope.csv", "give a CSV file"),
    ("data=list data.list=file", "file, line 2", "beyond the last column"),
    ("data=folder", "data.input_dir is not given", "add data.input_dir=VALUE"),
    ("model.pretrained=/nope", "model.pretrained is /nope", "mini"),
    ("model=latentsync_1_6", "latentsync-1.6/latentsync_unet.pt is not on this machine", "latentsync weights fetch"),
    ("model=latentsync_1_6 model.inference_ckpt_path=/nope.pt", "/nope.pt", "check the path"),
]
WRONG_NAMES = [
    ("sampler.sed=1", "sampler.sed", "sampler.seed"),
    ("+sampler.foo=1", "sampler.foo", "+custom.sampler.foo"),
    ("+foo=1", "the key foo is unknown", "+custom.foo"),
    ("++foo=1", "the key foo is unknown", "+custom.foo"),
    ("+sampler.seed=1", "+sampler.seed=1 adds a key that exists", "leave out the +"),
    ("~data", "has no data", "delete nothing"),
    ("~foo", "Could not delete", "foo"),
    ("tracker=null", "tracker=null", "wandb_offline"),
    ("unet=stage1", "the key unet is unknown", "latentsync run --help"),
    ("train=vae", "the key train is unknown", "latentsync run --help"),
    ("launch.n=3", "launch.n is no key of launch=basic", "local, slurm"),
    ("data.split=test", "data.split is no key of data=shipped", "list"),
    ("hydra.sweper.x=1", "hydra.sweper.x", "hydra.sweeper"),
    ("hydra.launcher=joblib", "hydra.launcher=joblib", "hydra/launcher=joblib or launch=local"),
    ("hydra/launcher=ray", "hydra/launcher=ray is not installed", "pip install hydra-ray-launcher"),
    ("hydra/sweeper=mine", "hydra/sweeper=mine is not installed", "basic"),
    ("-m hydra/sweeper=optuna", "hydra/sweeper=optuna", "latentsync-lab[optuna]"),
    ("hydra.sweep.dir=/tmp/x", "hydra.sweep.dir is /tmp/x", "runs_dir=FOLDER"),
    ("hydra.job.chdir=true", "hydra.job.chdir is true", "leave it out"),
    ("seed", "'seed' is no override", "KEY=VALUE"),
    ("sampler.seed=[1", "sampler.seed=[1 cannot be read", "quotes"),
    ("--cfg foo", "'foo'", "job"),
    ("--cfg job -m", "--multirun and --cfg exclude each other"),
    ("--cfg job sampler.sed=1", "sampler.seed"),
    ("--resolve", "--resolve needs --cfg"),
    ("--config-dir", "expected one argument"),
    ("--shell-completion install=bash", "latentsync completion bash"),
]
WRONG_SWEEPS = [
    ("sampler.seed=1,2", "sampler.seed=1,2 has several values", "add -m"),
    ("-m sampler.seed=1,-1", "seed is -1", "a whole number from 0"),
    ("-m sampler.seed=1,abc plan=true", "sampler.seed is 'abc'", "a whole number from 0"),
    ("-m sampler.seed=1,2 sampler.rng=own,all preview=true", "rng 'all'", "own, reference"),
    ("-m model=mini,latentsync_1_6", "latentsync-1.6/latentsync_unet.pt is not on this machine"),
    ("-m plan=true,false", "plan=true,false has several values", "give one"),
    ("-m experiment=quickstart,guidance_sweep", "quickstart", "add name=NAME"),
    ("experiment=quickstart sampler.num_inference_steps=0", "num_inference_steps is 0", "1 to 999"),
]


@pytest.mark.parametrize(("line", "words"), [(line, words) for line, *words in WRONG_VALUES + WRONG_NAMES])
def test_a_wrong_run_ends_with_a_sentence_and_status_2_and_stores_nothing(line, words, refused):
    error = refused(*line.split())
    assert all(word in error for word in words), error


@pytest.mark.parametrize(("line", "words"), [(line, words) for line, *words in WRONG_SWEEPS])
def test_so_does_a_sweep_of_which_one_cell_is_wrong(line, words, refused):
    error = refused(*line.split())
    assert all(word in error for word in words), error


def test_what_only_the_loaded_model_knows_is_refused_too(refused, untrained, clips):
    model = f"model.pretrained={untrained}", "data=folder", f"data.input_dir={clips}"
    loading = f"{LOADING}\n"
    assert "windows of at most" in refused(*model, "sampler.num_frames=99", shown=loading)
    assert "windows of at most" in refused("-m", *model, "sampler.num_frames=8,99", shown=loading)
    assert "'moon' is not available here" in refused(*model, "runtime.device=moon", "plan=true")


def test_files_of_ones_own_are_checked_as_the_command_line_is(refused, tmp_path):
    conf = tmp_path.parent / f"{tmp_path.name}-conf"
    (conf / "experiment").mkdir(parents=True)
    for text, words in (
        ("smapler: {seed: 3}", ("smapler", "did you mean sampler?", "custom")),
        ("sampler: {sed: 3}", ("sampler.sed", "did you mean sampler.seed?")),
        ("sampler: {seed: three}", ("sampler.seed is 'three'", "whole number")),
        ("sampler: {seed: '${custom.seed}'}", ("custom.seed",)),
        ("defaults: [override /sampler: heun]", ("sampler/heun",)),
        ("defaults: [override /hydra/launcher: ray]", ("hydra/launcher=ray is not installed", "hydra-ray-launcher")),
    ):
        (conf / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{text}\n")
        error = refused("--config-dir", str(conf), "experiment=mine")
        assert all(word in error for word in words), error


def test_values_of_ones_own_are_for_interpolation(tmp_path):
    arguments = ["+custom.best=1.6", "sampler.guidance_scale=${custom.best}", f"runs_dir={tmp_path}"]
    assert request.read(arguments).runs[0].options.sampler.guidance_scale == 1.6
    both = request.read(["-m", "+custom.seed=3", "sampler.seed=${custom.seed},4", f"runs_dir={tmp_path}"])
    assert [run.options.sampler.seed for run in both.runs] == [3, 4]


# --- launchers ---


def test_a_launcher_of_swept_experiments_is_refused_unless_the_sweep_has_it(tmp_path):
    conf = tmp_path / "conf"
    (conf / "experiment").mkdir(parents=True)
    for name in ("mine", "other"):
        (conf / "experiment" / f"{name}.yaml").write_text(
            "# @package _global_\ndefaults:\n  - override /launch: local\nlaunch:\n  n: 3\n"
        )
    line = ["-m", f"--config-dir={conf}", "experiment=mine,other", "name=both", f"runs_dir={tmp_path}"]
    with pytest.raises(OptionError, match=r"launch=local .*n=3.* add launch=local"):
        request.read(line)
    assert request.read([*line, "launch=local", "launch.n=2"]).launcher == "joblib"
    assert request.read([*line, "launch=basic"]).launcher == "basic"
    assert request.read([*line[:2], "experiment=mine", "name=both", f"runs_dir={tmp_path}"]).launcher == "joblib"


@pytest.mark.parametrize(("launch", "is_here"), [("local", True), ("slurm", False)])
def test_the_plan_of_another_launcher_estimates(launch, is_here, clips, untrained, tmp_path, capsys):
    line = [
        "-m", "data=folder", f"data.input_dir={clips}", f"model.pretrained={untrained}", f"runs_dir={tmp_path}",
        "sampler.seed=1,2",
    ]  # fmt: skip
    here = plan.resolved(request.read([*line, "plan=true"]))
    assert plan.answer(request.read([*line, f"launch={launch}", "plan=true"])) == 0
    printed = capsys.readouterr().out
    assert "2 cells, 2 records: 0 cached, 2 to make" in printed and "2 records: time and disk space" in printed
    assert all(record in printed for cell in here for record in cell.records.values())
    assert ("runtime.dtype" in printed) != is_here
    assert not list(tmp_path.iterdir())


# --- help and the page of all options ---


def test_help_explains_every_option_within_the_width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "72")
    text = run_help([])
    assert max(map(len, text.splitlines())) <= 72
    words = " ".join(text.split())
    for name, kind in KINDS.items():
        for info in section_infos(kind):
            assert f" {dotted(name, info.name)}=" in words and " ".join(info.help.split()) in words
    assert "sampler.num_inference_steps=null" in words and "Unit: steps." in words and "arXiv 2404.07724" in words
    for group in RUN.hidden:
        assert f" {group}=" not in words
    assert "sampler=ddim" in words and "or dpmpp_2m, student, unipc" in words


def test_help_shows_the_values_of_the_other_arguments():
    text = run_help(["--help", "sampler.seed=7", "data=folder"])
    assert "sampler.seed=7" in text and "data.input_dir=VALUE" in text
    with pytest.raises(OptionError, match="did you mean sampler.seed"):
        run_help(["sampler.sed=7", "--help"])


def test_the_page_of_all_options_is_the_committed_one():
    page = options_page()
    assert page == (ROOT / "docs" / "options.md").read_text(encoding="utf-8"), "run latentsync pictures options"
    for name in SECTIONS:
        for info in section_infos(KINDS[name]):
            assert f"| `{name}.{info.name}` |" in page


def test_every_configuration_says_what_it_is():
    for path in CONF_DIR.glob("*/*.yaml"):
        first = next(line for line in path.read_text().splitlines() if not line.startswith("# @package"))
        assert first.startswith("# "), path


# --- completion ---


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("latentsync ru", ["run"]),
        ("latentsync ", ["run", "status", "train"]),
        ("latentsync run samp", ["sampler.", "sampler="]),
        ("latentsync run sampler=", ["sampler=ddim", "sampler=dpmpp_2m", "sampler=unipc"]),
        ("latentsync run -m sampler=ddim,un", ["sampler=ddim,unipc"]),
        (
            "latentsync run sampler.gui",
            [f"sampler.guidance_{end}=" for end in ("interval", "mask", "scale", "schedule")],
        ),
        ("latentsync run sampler.guidance_mask=", ["sampler.guidance_mask=mouth", "sampler.guidance_mask=uniform"]),
        ("latentsync run plan=", ["plan=false", "plan=true"]),
        ("latentsync run launch=local launch.", ["launch.n="]),
        ("latentsync run --conf", ["--config-dir", "--config-name", "--config-path"]),
        ("latentsync run hydra/laun", ["hydra/launcher="]),
        ("latentsync run experiment=quick", ["experiment=quickstart"]),
        ("latentsync run un", []),
        ("latentsync run sampler.sed=1 sampler.se", ["sampler.seed="]),
        ("latentsync train train=unet_", ["train=unet_stage1", "train=unet_stage2"]),
        ("latentsync train loop.sa", ["loop.save_every="]),
        ("latentsync report --", ["--baseline", "--help", "--output", "--sweep", "--videos"]),
        ("latentsync publish --mode ", ["offline", "online"]),
        ("latentsync weights fe", ["fetch"]),
        ("latentsync weights convert --f", ["--force"]),
        ("latentsync autotune --target 0.4 sampler.se", ["sampler.seed="]),
        ("latentsync benchmark benchmark=", ["benchmark=full", "benchmark=quick"]),
        ("latentsync nothing x", []),
    ],
)
def test_a_word_is_completed(line, some):
    found = completions(line)
    assert set(some) <= set(found) and (len(some) > 0 or found == [])
    assert all(candidate.startswith(line.rpartition(" ")[2]) for candidate in found)


@pytest.mark.parametrize("name", names())
def test_the_options_of_every_command_are_completed(name):
    assert "--help" in completions(f"latentsync {name} --h")


def test_a_folder_and_a_configuration_of_ones_own_are_completed(tmp_path):
    (tmp_path / "clips").mkdir()
    (tmp_path / "sampler").mkdir()
    (tmp_path / "sampler" / "slow.yaml").write_text("defaults: [ddim]\n")
    word = f"data.input_dir={tmp_path}/cl"
    assert completions(f"latentsync run data=folder {word}") == [f"data.input_dir={tmp_path}/clips/"]
    assert completions(f"latentsync run --config-dir {tmp_path} sampler=sl") == ["sampler=slow"]


def test_the_id_of_a_record_to_start_from_is_completed(tmp_path):
    for name in ("abc1", "abd2", ".part-abc3"):
        (tmp_path / "records" / name).mkdir(parents=True)
    assert completions("latentsync run fro") == ["from="]
    assert completions(f"latentsync run runs_dir={tmp_path} from=abc") == ["from=abc1"]
    assert "sampler.seed=" in completions(f"latentsync run runs_dir={tmp_path} from=abc1 sampler.se")


BASH = """
PATH={folder}:$PATH
source <(latentsync completion bash)
complete -p latentsync
try() {{ COMP_LINE="$1"; COMP_POINT=${{#1}}; COMP_WORDS=(latentsync); _latentsync; printf '%s|' "${{COMPREPLY[@]}}"; }}
try "latentsync ru"; try "latentsync run sampler=un"; COMP_WORDBREAKS=${{COMP_WORDBREAKS//=}}
try "latentsync run sampler=un"; try "latentsync run sampler.guidance_ma"
"""


def test_a_shell_completes(tmp_path):
    program = tmp_path / "latentsync"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m latentsync "$@"\n')
    program.chmod(0o755)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", BASH.format(folder=tmp_path)], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    first, replies = done.stdout.splitlines()
    assert "_latentsync latentsync" in first
    assert replies == "run |unipc |sampler=unipc |sampler.guidance_mask=|"
    assert set(SCRIPTS) == {"bash", "zsh", "fish"}


# --- many cells ---


def test_cells_share_what_they_can(monkeypatch):
    """However many cells, each value is parsed once, and each choice of groups composed once."""
    calls = {"composed": 0, "parsed": 0}
    for name in calls:
        function = getattr(sys.modules[CellConfigs.__module__], name)

        def counted(*args, name=name, function=function):
            calls[name] += 1
            return function(*args)

        monkeypatch.setattr(sys.modules[CellConfigs.__module__], name, counted)
    cells = [
        [f"sampler={sampler}", f"sampler.seed={seed}", f"sampler.guidance_scale={scale}"]
        for sampler in ("ddim", "unipc") for seed in range(40) for scale in (1, 1.5)
    ]  # fmt: skip
    with composing():
        configs = CellConfigs()
        runs = [configs.run(cell) for cell in cells]
    assert len(set(runs)) == 160 and calls == {"composed": 2, "parsed": 42}


def test_the_number_of_cells_does_not_change_how_often_hydra_composes(monkeypatch, tmp_path):
    compositions = []
    load = ConfigLoaderImpl._load_configuration_impl

    def counted(*args, **options):
        compositions.append(args)
        return load(*args, **options)

    monkeypatch.setattr(ConfigLoaderImpl, "_load_configuration_impl", counted)
    numbers = []
    for seeds in (2, 20):
        compositions.clear()
        line = ["-m", "sampler=ddim,unipc", f"sampler.seed=range({seeds})", f"runs_dir={tmp_path}"]
        assert len(request.read(line).runs) == 2 * seeds
        numbers.append(len(compositions))
    assert numbers[0] == numbers[1] <= 4


@pytest.mark.parametrize("experiment", sorted(path.stem for path in (CONF_DIR / "experiment").iterdir()))
def test_cells_of_shipped_experiments_are_as_hydra_composes_them(experiment):
    line = read_command_line(["-m", f"experiment={experiment}"])
    with composing():
        cells, configs = cells_of(composed(line.overrides), True), CellConfigs()
        config = compose(CONFIG_NAME, cells[-1])
        assert OmegaConf.to_container(configs.of(cells[-1])) == OmegaConf.to_container(config)
        assert configs.run(cells[-1]) == read_config(config)
