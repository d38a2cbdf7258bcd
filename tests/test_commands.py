"""The console command: its list, every command's help, what help imports, and how a mistake ends."""

import ast
import json
import os
import subprocess
import sys
from json import JSONDecodeError
from pathlib import Path

import pytest
from pandas.errors import ParserError
from source_trees import tree_of

from latentsync.__main__ import main
from latentsync.errors import MediaError, OptionError
from latentsync.lab import commands, console
from latentsync.lab.console import FAILED, INTERRUPTED, MISUSED, PIPE_CLOSED, ArgumentParser, command, number
from latentsync.lab.options.sources import begin
from latentsync.verbosity import VERBOSITY_VARIABLE, bars_off, verbosity

ROOT = Path(__file__).parents[1]
HYDRAS = {"run", "train"}  # whose arguments Hydra parses
HEAVY = ("torch", "pandas", "matplotlib", "cv2", "transformers", "diffusers", "wandb")
# Prints, for `latentsync NAME --help`, its status and what it imported, as the last line of stderr.
WATCHED = """
import json, sys
from latentsync.__main__ import main
try:
    status = main(sys.argv[1:])
except SystemExit as end:
    status = end.code or 0
print(json.dumps([status, sorted(name for name in sys.modules if "." not in name)]), file=sys.stderr)
"""


def python(code, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, **options
    )


def status_of(*arguments):
    """The exit status of the command, however it ends."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as end:
        return end.code or 0


# --- the list ---


def test_without_a_name_the_commands_are_listed(capsys):
    assert status_of() == 0
    listing = capsys.readouterr().out
    for arguments in (["--help"], ["-h"]):
        assert status_of(*arguments) == 0
        assert capsys.readouterr().out == listing
    for name in commands.names():
        assert f"  {name} " in listing and commands.summary(name) in listing


@pytest.mark.parametrize("name", commands.names())
def test_a_summary_is_one_short_sentence(name):
    summary = commands.summary(name)
    assert len(summary) < 80 and summary.endswith(".") and summary[0].isupper()


def test_the_list_imports_no_command():
    done = python(WATCHED, "--help")
    status, modules = json.loads(done.stderr.splitlines()[-1])
    assert status == 0
    assert not {*HEAVY, "hydra", "omegaconf", "numpy", "tqdm", "argparse"} & set(modules)


def test_the_version_is_told(capsys):
    import latentsync

    assert status_of("--version") == 0
    assert capsys.readouterr().out.strip() == latentsync.__version__


@pytest.mark.parametrize(
    ("name", "closest"), [("mesure", "measure"), ("colect", "collect"), ("measure_set", "measure-sets")]
)
def test_an_unknown_command_names_the_closest(name, closest, capsys):
    assert status_of(name) == MISUSED
    answer = capsys.readouterr()
    assert answer.out == "" and answer.err.startswith("error: ") and answer.err.count("\n") == 1
    assert f"did you mean {closest}?" in answer.err


def test_a_part_of_another_command_is_named_with_it(capsys):
    assert status_of("distill") == MISUSED
    assert "use latentsync train train=unet_distill" in capsys.readouterr().err


def test_an_unknown_command_like_no_other_names_them_all(capsys):
    assert status_of("xyzzy") == MISUSED
    error = capsys.readouterr().err
    assert "xyzzy" in error and all(name in error for name in commands.names())


# --- every command ---


@pytest.mark.parametrize("name", commands.names())
def test_help_says_what_a_command_does_and_imports_nothing_heavy(name):
    done = python(WATCHED, name, "--help")
    status, modules = json.loads(done.stderr.splitlines()[-1])
    assert status == 0
    assert commands.summary(name) in done.stdout
    allowed = {"hydra"} if name in HYDRAS else set()
    assert {*HEAVY, "hydra"} & set(modules) <= allowed


@pytest.mark.parametrize("name", commands.names())
def test_an_unknown_option_names_the_closest(name, capsys):
    action = {"record": ["schema"], "speakers": ["make"], "weights": ["convert"]}.get(name, [])
    option = "--cfg" if name in HYDRAS else "--help"
    assert status_of(name, *action, f"{option}x") == MISUSED
    answer = capsys.readouterr()
    assert answer.out == "" and answer.err.startswith("error: ") and answer.err.count("\n") == 1
    assert f"{option}x; did you mean {option}?" in answer.err


BAD = {  # by command: arguments with a mistake, and a word of the answer
    "archive": (["{folder}", "--sweep", "s"], "has no sweep"),
    "assemble": (["--model_dir", "{folder}", "--output_dir", "{folder}/new"], "there is no model at"),
    "autotune": (["--target", "1", "sampler.sed=1"], "did you mean sampler.seed"),
    "batch": (["--input_dir", "{folder}/none", "--output_dir", "{folder}/new"], "there is no folder at"),
    "benchmark": (["stages=[unit]"], "did you mean unet"),
    "check": (["{folder}/none"], "there is nothing at"),
    "collect": (["{folder}", "--output", "{folder}/table.csv"], "no finished records"),
    "compare": (["{folder}", "--baseline", "1"], "no finished record"),
    "diff": (["{folder}/none", "{folder}/none"], "there is no record at"),
    "doctor": (["--jsn"], "did you mean --json"),
    "evaluate": (["--rows", "beauty"], "--rows names beauty"),
    "export": (["{folder}", "{folder}/sweep.tar"], "has no sweep"),
    "grow": (["--model_dir", "{folder}", "--output_dir", "{folder}/new"], "there is no model at"),
    "import": (["{folder}/none.tar", "{folder}/runs"], "none.tar"),
    "leakage": (["{folder}"], "has no record"),
    "measure": (["{folder}"], "has no record"),
    "measure-sets": (["--generated", "{folder}", "--real", "{folder}"], "has no video"),
    "memory": (["--unet_config_path", "{folder}/none.yaml"], "none.yaml"),
    "pairs": (["{folder}", "--output", "{folder}/pairs.csv"], "have no clip"),
    "prepare": (["--input_dir", "{folder}", "--output_dir", "{folder}/new"], "has no video"),
    "publish": (["{folder}"], "no finished records"),
    "rate": (["{folder}"], "has no sweep"),
    "record": (["schema", "metric.json"], "did you mean metrics.json"),
    "report": (["{folder}"], "has no sweep"),
    "rerun": (["{folder}/none"], "there is no record at"),
    "restore": (["{folder}", "0123456789abcdef"], "has no record 0123456789abcdef"),
    "resync": (["{folder}/none.mp4"], "none.mp4 does not exist"),
    "run": (["sampler.sed=1"], "did you mean sampler.seed"),
    "sensitivity": (["--clips", "1", "--output", "{folder}"], "--clips is 1"),
    "speakers": (["make", "--output_dir", "{folder}", "--size", "255"], "even number"),
    "status": (["{folder}"], "is not a runs folder"),
    "completion": (["bas"], "did you mean bash"),
    "tag": (["{folder}/none", "+good"], "there is no record at"),
    "train": (["train=gan"], "train=gan is unknown"),
    "weights": (["fetch", "beauty"], "called 'beauty'"),
    "widen": (
        ["--model_dir", "{folder}", "--output_dir", "{folder}/new", "--data_dir", "{folder}"],
        "there is no model at",
    ),
    "view": (["{folder}/none", "--no-browser"], "there is no folder {folder}/none"),
    "pictures": (["studies", "--studies", "{folder}"], "{folder}"),
}


@pytest.mark.parametrize("name", commands.names())
def test_bad_input_ends_with_one_line(name, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))  # sensitivity sets it
    arguments, word = BAD[name]
    status = status_of(name, *(argument.format(folder=tmp_path) for argument in arguments))
    assert status == MISUSED
    lines = [line for line in capfd.readouterr().err.splitlines() if not line.startswith(("W0000", "INFO:", "I0000"))]
    assert len(lines) == 1 and lines[0].startswith("error: ") and word.format(folder=tmp_path) in lines[0]


def test_hydras_commands_show_their_options_and_keys_in_their_help(capsys):
    for name, key in (("run", "sampler.num_inference_steps=null"), ("train", "data_dir: ???")):
        assert status_of(name, "--help") == 0
        assert key in capsys.readouterr().out


# --- rooms ---


def imports_of(path):
    """The names that a module imports, anywhere in it."""
    for node in ast.walk(tree_of(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_arguments_stay_in_commands_and_no_library_imports_a_command():
    folder = Path(commands.__file__).parent
    libraries = [
        path for path in (ROOT / "latentsync").rglob("*.py") if path.parent != folder and path.name != "__main__.py"
    ]
    assert len(libraries) > 100
    for path in libraries:
        names = list(imports_of(path))
        assert not [name for name in names if name.startswith("latentsync.lab.commands")], path
        assert path.parent == Path(console.__file__).parent or "argparse" not in {
            name.split(".")[0] for name in names
        }, path


# --- the parser ---


def parser():
    parser = ArgumentParser("latentsync toy", description="Play.")
    parser.add_argument("--guidance_scale", type=float)
    parser.add_argument("--seed", type=number(0, 9), required=True)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"))
    parser.add_argument("overrides", nargs="*")
    return parser


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--guidance_scal", "1", "--seed=1"], None),  # the beginning of an option's name stands for it
        (["--guidence_scale", "1"], "--guidence_scale; did you mean --guidance_scale?"),
        (["--sed=3"], "--sed; did you mean --seed?"),
        (["a=1", "--sed", "3", "b=2"], "--sed; did you mean --seed?"),
        (["--xyzzy"], "--help, --quiet, --verbose, --guidance_scale, --seed, --dtype"),
        ([], "required: --seed"),
        (["--seed", "10"], "from 0 to 9"),
        (["--seed", "many"], "'many' is not a number"),
        (["--seed", "1", "--dtype", "float31"], "'float31'; did you mean float32?"),
    ],
)
@pytest.mark.parametrize("parse", ["parse_args", "parse_intermixed_args"])
def test_a_mistaken_argument_is_one_line_and_status_2(parse, arguments, word, capsys):
    if word is None:
        assert getattr(parser(), parse)(arguments).seed == 1
        return
    with pytest.raises(SystemExit) as end:
        getattr(parser(), parse)(arguments)
    error = capsys.readouterr().err
    assert end.value.code == MISUSED and error.startswith("error: ") and error.count("\n") == 1 and word in error
    assert "latentsync toy --help" in error


def test_an_action_of_a_command_refuses_by_its_own_options(capsys):
    toy = ArgumentParser("latentsync toy")
    make, _ = toy.add_actions(make="make it", show="show it")
    make.add_argument("--count", type=int)
    assert toy.parse_args(["make", "--count", "3"]).action == "make"
    for arguments, word in (
        (["make", "--cuont", "3"], "latentsync toy make --help"),
        (["mak"], "'mak'; did you mean make?"),
    ):
        with pytest.raises(SystemExit) as end:
            toy.parse_args(arguments)
        assert end.value.code == MISUSED and word in capsys.readouterr().err


def test_after_two_dashes_all_are_values():
    assert parser().parse_args(["--seed", "1", "--", "--sed"]).overrides == ["--sed"]


# --- the end ---


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (OptionError("size is 3; give 64"), MISUSED, "error: size is 3; give 64\n"),
        (MediaError("a.mp4 is empty"), 7, "error: a.mp4 is empty\n"),
        (KeyboardInterrupt(), INTERRUPTED, "stopped\n"),
        (PermissionError(13, "Permission denied", "/x/y"), FAILED, "error: /x/y cannot be read"),
        (OSError("no more space"), FAILED, "error: no more space\n"),
        (MemoryError(), FAILED, "error: the memory does not suffice (MemoryError); close"),
        (JSONDecodeError("Expecting value", "[", 1), FAILED, "error: a file is damaged or of another kind (Expecting"),
        (ParserError("line 3\nline 4"), FAILED, "error: a file is damaged or of another kind (line 3); correct"),
        (MediaError("\x1b[2J.mp4 is empty"), 7, "error: \\u001b[2J.mp4 is empty\n"),
        (BrokenPipeError(32, "Broken pipe"), FAILED, "error: [Errno 32] Broken pipe\n"),  # a pipe, but not stdout
    ],
)
def test_an_error_ends_a_command_with_a_line_and_a_status(error, status, text, capsys):
    @command(error_status=7, interrupted="stopped")
    def main():
        raise error

    assert main() == status
    assert capsys.readouterr().err.startswith(text)


def test_a_commands_own_status_is_kept_and_a_defect_goes_through():
    assert [command()(lambda status: status)(status) for status in (None, 0, 3)] == [0, 0, 3]
    with pytest.raises(ZeroDivisionError):
        command()(lambda: 1 / 0)()


def test_a_reader_that_goes_away_is_no_error():
    code = "import sys; from latentsync.lab.console import command\n" \
        "def main():\n  while True: print('x' * 1000)\nsys.exit(command()(main)())"  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == PIPE_CLOSED
        assert process.stderr.read() == b""


def test_whoever_listens_is_told_what_bars_show():
    seen = []
    with console.listening(lambda *stage: seen.append(stage)), console.PairBar("a__b") as bar:
        bar.say("load")
        bar.on_progress("align", 2, 5)
    assert seen == [("load", 0, 0), ("align", 0, 0), ("align", 2, 5)]


# --- quiet and verbose ---


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        ([], ["progress", "result"]),
        (["--quiet"], ["result"]),
        (["--qui"], ["result"]),  # the beginning of an option is enough
        (["--verbose"], ["progress", "detail", "result"]),
    ],
)
def test_quiet_and_verbose_choose_the_lines_of_one_command(arguments, printed, capsys, monkeypatch):
    monkeypatch.delenv(VERBOSITY_VARIABLE, raising=False)

    @command()
    def main(arguments):
        ArgumentParser("latentsync toy").parse_args(arguments)
        console.say("progress")
        console.detail("detail")
        console.show("result")
        assert bars_off() is (True if printed == ["result"] else None)

    assert main(arguments) == 0
    assert capsys.readouterr().out.split() == printed
    assert VERBOSITY_VARIABLE not in os.environ  # the next command of this process is as before


def test_hydras_commands_take_quiet_and_verbose(monkeypatch):
    monkeypatch.setenv(VERBOSITY_VARIABLE, "normal")
    assert console.take_verbosity(["-m", "--quiet", "a=1", "--", "--verbose"]) == ["-m", "a=1", "--", "--verbose"]
    assert verbosity() == "quiet"
    monkeypatch.setattr(sys, "argv", [])
    assert begin("run", ["--verbose", "a=1"]) == ["a=1"] and verbosity() == "verbose"


def test_without_a_bar_the_stages_of_the_first_pair_are_named(capsys, monkeypatch):
    monkeypatch.setattr(console.progress, "_named", set())
    for name in ("a__b", "c__d"):
        with console.PairBar(name) as bar:
            bar.on_progress("read", 0, 0)
            for done in (0, 1, 2):
                bar.on_progress("align", done, 2)
            bar.say("measure")
    assert capsys.readouterr().out == "a__b: finding the face in each frame\na__b: measuring the result\n"
