"""The plan of a sweep, failures that are not tried again, several processes at one sweep, and its status."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose
from omegaconf import OmegaConf
from record_content import content
from sweep_command import ROOT, sweep

from latentsync.checkpoints.model import LATENTSYNC_SCHEDULER
from latentsync.errors import OptionError
from latentsync.files import write_json
from latentsync.lab.commands.status import main as status_command
from latentsync.lab.options import CONF_DIR
from latentsync.lab.options.cells import CellConfigs
from latentsync.lab.options.compose import cells_of, composed, composing, configured
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.lab.options.schema import read_config
from latentsync.lab.options.sources import read_command_line
from latentsync.lab.records.identity import record_id
from latentsync.lab.records.store import RecordStore
from latentsync.lab.records.sweeps import PLAN_FILE, cell_key, sweep_cells
from latentsync.lab.sweeps import plan, request
from latentsync.lab.sweeps.costs import Cost, Work, estimate
from latentsync.lab.sweeps.fingerprint import fingerprint
from latentsync.lab.sweeps.preview import preview
from latentsync.lab.sweeps.sweep import SweepReport, running

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sweep_overrides(clips, untrained):
    """The overrides of a quick sweep below a runs folder, as `test_run.sweep` gives them."""

    def overrides(runs, *more, inputs=clips):
        return [
            "data=folder", f"data.input_dir={inputs}", f"runs_dir={runs}", f"model.pretrained={untrained}", "name=test",
            "sampler.num_inference_steps=1", "metrics=none", "tracker=none", *more,
        ]  # fmt: skip

    return overrides


def run(overrides: list[str]) -> tuple[int, list[dict]]:
    """One cell in this process: exit status, and outcomes as noted."""
    report = SweepReport()
    with composing():
        config = compose("config", overrides)
    running().run_cell(config, overrides)
    key = cell_key(request.cell_overrides(overrides))
    try:
        report.on_run_end(config)
    except SystemExit as end:
        status = end.code
    else:
        status = 0
    return status, json.loads((Path(config.runs_dir) / "sweeps/test/cells" / f"{key}.json").read_text())["outcomes"]


@pytest.fixture(scope="module")
def finished(sweep_overrides, tmp_path_factory) -> Path:
    """A runs folder with one record, of seed 1."""
    runs = tmp_path_factory.mktemp("runs")
    assert run(sweep_overrides(runs, "sampler.seed=1"))[0] == 0
    return runs


@pytest.mark.parametrize(
    ("overrides", "closest"),
    [
        (["sampler.guidance_scal=2"], "sampler.guidance_scale"),
        (["seed=1,2", "-m"], "sampler.seed"),
        (["experiment=quickstrt"], "quickstart"),
        (["model=mini,latentsync_1_7", "-m"], "latentsync_1_6"),
        (["smapler=ddim"], "sampler"),
    ],
)
def test_an_unknown_key_or_choice_is_told_with_the_closest_ones(overrides, closest):
    with pytest.raises(OptionError, match=f"unknown; did you mean .*{closest}"):
        request.read(overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        ["experiment=quickstart"],
        ["-m", "sampler.seed=range(0,3)", "model=mini,latentsync_1_6", "sampler.guidance_scale=null,1.5"],
        ["-m", "data=folder", "data.input_dir='/a b/c'", "video.mask=mask,mask2", "+hydra.sweeper.max_batch_size=2"],
        ["-m", "+custom.seed=3", "sampler.seed=${custom.seed},4", "sampler.guidance_scale=1,1.5,null", "name=7"],
        ["-m", "sampler.guidance_interval=[0.1,0.2],[0,1]", "launch=local", "launch.n=1,2", "tracker.timeout_s=3"],
    ],
)
def test_cells_are_composed_as_hydra_composes_them(overrides):
    line = read_command_line(overrides)
    with composing():
        cells, configs = cells_of(composed(line.overrides), True), CellConfigs()
        assert len(cells) > 1
        for cell in cells:
            config = compose("config", cell)
            assert OmegaConf.to_container(configs.of(cell)) == OmegaConf.to_container(config)
            assert configs.run(cell) == read_config(config)


@pytest.fixture(scope="module")
def own_conf(tmp_path_factory) -> Path:
    """A folder of one's own configurations: the experiment `mine` of two seeds, and a `root` that finds it."""
    folder = tmp_path_factory.mktemp("elsewhere") / "conf"
    (folder / "experiment").mkdir(parents=True)
    (folder / "experiment/mine.yaml").write_text(
        "# @package _global_\nname: mine\nsampler: {num_inference_steps: 3}\n"
        "hydra: {mode: MULTIRUN, sweeper: {params: {sampler.seed: '1,2'}}}\n"
    )
    searchpath = f"hydra: {{searchpath: ['file://{CONF_DIR}']}}"
    (folder / "root.yaml").write_text(f"defaults: [config, _self_]\nname: rooted\n{searchpath}\n")
    (folder / "bare.yaml").write_text("name: bare\n")
    return folder


FLAGS = (
    ("--config-dir={}",),
    ("hydra.searchpath=[file://{}]",),
    ("--config-path={}", "--config-name=root"),
    ("--config-dir={}", "--config-name=root"),
)


@pytest.mark.parametrize("flags", FLAGS, ids=" ".join)
def test_configurations_of_ones_own_are_planned_and_make_no_record(flags, own_conf, sweep_overrides, tmp_path, capsys):
    flags = [flag.format(own_conf) for flag in flags]
    overrides = [o for o in sweep_overrides(tmp_path) if not o.startswith(("name=", "sampler."))]
    sweep_request = request.read([*flags, *overrides, "experiment=mine", "plan=true"])
    has_root = "--config-name=root" in flags  # whose own values come last
    assert sweep_request.config.name == ("rooted" if has_root else "mine") and len(sweep_request.cells) == 2
    assert plan.answer(sweep_request) == 0
    printed = capsys.readouterr().out
    assert "2 cells, 2 records: 0 cached, 2 to make" in printed
    assert all(f"sampler.seed={seed}" in printed for seed in (1, 2))
    assert RecordStore(tmp_path).all() == []
    assert [run.options.sampler.num_inference_steps for run in sweep_request.runs] == [3, 3]
    with pytest.raises(OptionError, match="experiment=mien .* did you mean mine"):
        request.read([*flags, *overrides, "experiment=mien"])
    with pytest.raises(OptionError, match=r"sampler\.sed .* did you mean sampler\.seed"):
        request.read([*flags, *overrides, "experiment=mine", "sampler.sed=1"])


def test_a_preview_and_one_configuration_know_ones_own(own_conf, tmp_path, monkeypatch):
    searchpath = f"hydra.searchpath=[file://{own_conf}]"
    assert configured([searchpath, "experiment=mine"]).sampler.num_inference_steps == 3
    with pytest.raises(OptionError, match="did you mean mine"):
        configured([searchpath, "experiment=mien"])
    calls = []
    monkeypatch.setattr("latentsync.lab.sweeps.preview.first_windows", lambda run: (calls.append(run) or {}, {}))
    monkeypatch.setattr("latentsync.lab.sweeps.preview.preview_sheet", lambda rows: None)
    monkeypatch.setattr("latentsync.lab.sweeps.preview.save", lambda sheet, path: None)
    sweep_request = request.read([searchpath, "experiment=mine", f"runs_dir={tmp_path}", "preview=true"])
    assert preview(sweep_request, say=lambda line: None) == 0
    assert [(run.name, run.options.sampler.num_inference_steps) for run in calls] == [("mine", 3)] * 2


@pytest.mark.parametrize("is_swept", [False, True], ids=["chosen", "swept"])
def test_a_changed_configuration_of_ones_own_is_another_plan(is_swept, own_conf, tmp_path):
    shutil.copytree(own_conf, tmp_path / "conf")
    command = ["--config-dir", str(tmp_path / "conf")]
    command += ["-m", "experiment=quickstart,mine", "name=both"] if is_swept else ["experiment=mine"]
    first = fingerprint(request.read(command))
    assert fingerprint(request.read(command)) == first
    path = tmp_path / "conf/experiment/mine.yaml"
    path.write_text(path.read_text().replace("num_inference_steps: 3", "num_inference_steps: 4"))
    assert fingerprint(request.read(command)) != first


@pytest.mark.parametrize(
    ("flags", "refusal"),
    [
        (["--config-dir={}/there"], "--config-dir .*/there is not"),
        (["--config-path={}/there"], "--config-path .*/there is not"),
        (["--config-path=conf"], f"--config-path conf is relative.*give {Path('conf').absolute()}"),
        (["hydra.searchpath=[file://{}/there]"], "searchpath .*file://.*/there"),
        (["hydra.searchpath={}"], "searchpath must be a list"),
        (["--config-dir={}", "--config-name=rot"], "--config-name rot .* did you mean root"),
        (["--config-dir={}", "--config-name=bare"], "bare .*runs_dir.*; .*defaults with config"),
    ],
)
def test_a_place_of_configurations_that_is_none_is_refused(flags, refusal, own_conf):
    with pytest.raises(OptionError, match=refusal):
        request.read([flag.format(own_conf) for flag in flags])


@pytest.mark.parametrize("flags", FLAGS[1:3], ids=" ".join)
def test_hydra_composes_ones_own_as_the_plan_does(flags, own_conf):
    command = [*(flag.format(own_conf) for flag in flags), "experiment=mine"]
    answer = subprocess.run(
        [sys.executable, "-m", "latentsync", "run", *command, "--cfg", "job"], cwd=ROOT, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
    content = OmegaConf.to_container(request.read(command).config)
    del content["hydra"]
    assert OmegaConf.to_container(OmegaConf.create(answer.stdout)) == content


def test_the_files_that_a_list_names_are_inputs(clips, tmp_path):
    pairs = tmp_path / "pairs.csv"
    pairs.write_text(f"clip,voice\n{clips}/g-clara.mp4,{clips}/g-voice.wav\n")
    sweep_request = request.read(["-m", "data=list", f"data.list={pairs}", "sampler.seed=1,2"])
    assert {str(pairs), f"{clips}/g-clara.mp4", f"{clips}/g-voice.wav"} <= sweep_request.places


def test_a_failure_is_left_alone_until_it_is_asked_for_or_its_input_changes(sweep_overrides, clips, tmp_path, capsys):
    inputs, runs = tmp_path / "inputs", tmp_path / "runs"
    shutil.copytree(clips, inputs)
    whole = (inputs / "g-clara.mp4").read_bytes()
    (inputs / "g-clara.mp4").write_bytes(whole[:5000])
    overrides = sweep_overrides(runs, "sampler.seed=1", inputs=inputs)
    status, (failure,) = run(overrides)
    assert (status, failure["status"], failure["stage"]) == (1, "failed", "read")
    assert "g-clara.mp4" in failure["reason"] and len(failure["record"]) == 16
    capsys.readouterr()
    status, (left,) = run(overrides)
    assert (status, left) == (1, {**failure, "status": "skipped"})
    assert "skipped; add retry=failed" in capsys.readouterr().out
    assert run([*overrides, "retry=failed"])[1][0]["status"] == "failed"
    assert run(overrides)[1][0]["status"] == "skipped"
    assert run([*overrides, "runtime.batch_size=1"])[1][0]["status"] == "failed"
    (inputs / "g-clara.mp4").write_bytes(whole)
    assert run(overrides)[1][0]["status"] == "done"
    with pytest.raises(OptionError, match="retry 'all' .* failed"):
        request.read([*overrides, "retry=all"])


def test_a_clock_that_jumps_back_hides_no_failure(sweep_overrides, tmp_path, monkeypatch):
    (tmp_path / "clips").mkdir()
    shutil.copy(SHIPPED_DIR / "g-clara.mp4", tmp_path / "clips")
    (tmp_path / "clips" / "g-voice.wav").write_bytes(b"no sound")
    times = iter(range(10**9, 0, -3600))
    monkeypatch.setattr("latentsync.lab.sweeps.notes.time.time", lambda: next(times))
    status, (outcome,) = run(sweep_overrides(tmp_path / "runs", inputs=tmp_path / "clips"))
    assert (status, outcome["status"]) == (1, "failed")


def test_a_full_disk_costs_no_finished_record(sweep_overrides, finished, tmp_path):
    runs = tmp_path / "runs"
    shutil.copytree(finished, runs)
    (record,) = RecordStore(runs).all()
    before = {path.name: path.read_bytes() for path in record.folder.iterdir()}
    answer = subprocess.run(
        [sys.executable, "-m", "latentsync", "run", "-m", *sweep_overrides(runs, "sampler.seed=1,2")],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (16384, 16384)),
    )  # fmt: skip
    assert answer.returncode == 1 and "Traceback" not in answer.stdout + answer.stderr
    assert {path.name: path.read_bytes() for path in record.folder.iterdir()} == before
    assert [path.name for path in RecordStore(runs).root.glob("[!.]*")] + list(
        RecordStore(runs).root.glob(".part-*")
    ) == [record.id]
    failures = [o for cell in sweep_cells(runs / "sweeps/test") for o in cell["outcomes"] if o["status"] == "failed"]
    assert [failure["stage"] for failure in failures] == ["denoise"]
    assert ".mp4 cannot be written" in failures[0]["reason"] and "check the disk's space" in failures[0]["reason"]
    assert run(sweep_overrides(runs, "sampler.seed=2", "retry=failed"))[0] == 0


def test_two_processes_of_one_sweep_make_each_record_once(clips, untrained, tmp_path):
    runs = tmp_path / "runs"
    both = [sweep(clips, runs, "sampler.seed=1,2,3", model=untrained, wait=False) for _ in range(2)]
    outputs = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert sum(output.count("done in") for output in outputs) == 3
    assert all("3 records, 0 failures" in output or "all 3 records" in output for output in outputs)


def test_a_claim_ends_with_the_process_that_has_it(tmp_path):
    store = RecordStore(tmp_path)
    held = "from latentsync.lab.records.store import RecordStore\nfrom pathlib import Path\nimport sys\n" \
           "with RecordStore(Path(sys.argv[1])).claim('abc', False) as ours:\n" \
           "    print(ours, flush=True); sys.stdin.read()"  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", held, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "True\n"
    with store.claim("abc", wait=False) as is_ours:
        assert not is_ours
    assert store.claimant("abc")["pid"] == process.pid and store.claimant("def") is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with store.claim("abc", wait=False) as is_ours:
        assert is_ours
        with store.new("abc") as folder:
            write_json(folder / "record.json", content("abc"))
    assert [path.name for path in store.root.iterdir()] == ["abc"]


def multiplied(runs: Path, seeds: int) -> None:
    """Copies a record of a runs folder for other seeds, as if they had been made."""
    store = RecordStore(runs)
    (record,) = store.all()
    for seed in range(seeds):
        content = json.loads((record.folder / "record.json").read_text())
        content["identity"]["options"]["seed"] = content["options"]["seed"] = seed
        content["id"] = record_id(content["identity"])
        if content["id"] != record.id:
            shutil.copytree(record.folder, store.root / content["id"], copy_function=os.link)
            write_json(store.root / content["id"] / "record.json", content)


ANSWERED = """import sys
from latentsync.lab.sweeps import plan, request
assert plan.answer(request.read(sys.argv[1:])) == 0 and "torch" not in sys.modules"""


def test_a_finished_sweep_is_answered_without_jobs_and_networks(sweep_overrides, finished, tmp_path, capsys):
    runs = tmp_path / "runs"
    shutil.copytree(finished, runs)
    multiplied(runs, 20)
    command = ["-m", *sweep_overrides(runs, "sampler.seed=range(0,20)")]
    assert plan.answer(request.read(command)) == 0
    assert "20 records, 0 failures" in capsys.readouterr().out
    answer = subprocess.run([sys.executable, "-c", ANSWERED, *command], cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith("nothing to do: 20 cells, all 20 records exist\n")
    shutil.rmtree(RecordStore(runs).all()[0].folder)
    assert plan.answer(request.read(command)) is None


def test_a_plan_tells_what_is_there_and_the_measured_cost_of_the_rest(sweep_overrides, finished, capsys):
    command = ["-m", *sweep_overrides(finished, "sampler.seed=1,2", "plan=true")]
    assert plan.answer(request.read(command)) == 0
    printed = capsys.readouterr().out
    assert "2 cells, 2 records: 1 cached, 1 to make, 0 failed" in printed
    (record,) = RecordStore(finished).all()
    timings = record.content["timings_s"]
    size = sum(path.stat().st_size for path in record.folder.iterdir())
    expected = f"about {timings['total'] + timings['measure']:.0f} s one after the other and {size / 1e6:.1f} MB"
    assert f"1 records will take {expected} (estimated from 1 earlier" in printed
    assert plan.answer(request.read([*command, "video.width=64", "video.height=64"])) == 0
    assert "2 records: time and disk space unknown" in capsys.readouterr().out
    assert len(RecordStore(finished).all()) == 1 and not (finished / "sweeps/test" / PLAN_FILE).exists()


def work(**others) -> Work:
    """The work of a record of 25 frames."""
    options = {"size_px": 128, "dtype": "bfloat16", "deepcache_interval": 1, "num_inference_steps": 20, "num_frames": 8}
    parts = {"options": options | others, "attention": "sdpa", "networks": {"scheduler": LATENTSYNC_SCHEDULER}}
    return Work.of("mini", "cpu", parts, 25)


def test_windows_that_share_frames_cost_the_frames_of_all_windows():
    plain, shared = work(guidance_scale=1.0), work(guidance_scale=1.0, window_overlap=2)
    assert plain.kind == shared.kind and (plain.num_denoised, plain.frame_passes) == (25, 500)
    assert shared.num_denoised == 8 + 8 + 8 + 7  # 0..8, 6..14, 12..20, 18..25
    cost = Cost(seconds_a_pass=0.1, seconds_a_frame=0.0, bytes_a_frame=0.0, number=1)
    assert [estimate([one], {one.kind: cost}).split(" one after")[0] for one in (plain, shared)] == [
        "1 records will take about 50 s",
        "1 records will take about 62 s",
    ]


def test_the_steps_without_guidance_cost_half():
    def passes(**others):
        return work(**others).passes

    assert (passes(guidance_scale=1.0), passes(guidance_scale=1.5)) == (20, 40)
    of_an_interval = {"guidance_schedule": "interval", "guidance_interval": [0.5, 0.8]}  # as a record holds it
    assert passes(guidance_scale=1.5, **of_an_interval) == 20 + 6
    assert passes(guidance_scale=1.5, guidance_every=3) == 20 + 7


def test_deepcache_changes_the_time_of_a_pass_and_not_their_number():
    works = [
        work(guidance_scale=1.0, deepcache_interval=interval, deepcache_final_steps=final_steps)
        for interval, final_steps in ((1, 0), (3, 0), (3, 1))
    ]
    assert len({one.kind for one in works}) == 3
    assert [one.passes for one in works] == [20] * 3


def test_status_tells_what_is_missing_and_which_records_are_broken(sweep_overrides, finished, tmp_path, capsys):
    runs = tmp_path / "runs"
    shutil.copytree(finished, runs)
    assert plan.answer(request.read(["-m", *sweep_overrides(runs, "sampler.seed=1,2")])) is None
    assert status_command([str(runs)]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["test", "1", "0", "1", "0"]
    assert run(sweep_overrides(runs, "sampler.seed=-1"))[0] == 1
    capsys.readouterr()
    (record,) = RecordStore(runs).all()
    missing = next(i for c in json.loads((runs / "sweeps/test/plan.json").read_text())["cells"] for i in
                   c["records"].values() if i != record.id)  # fmt: skip
    with RecordStore(runs).claim(missing, wait=False):
        assert status_command([str(runs), "--sweep", "test"]) == 1
    printed = capsys.readouterr().out
    assert printed.splitlines()[1].split() == ["test", "1", "1", "0", "1"]
    assert "seed is -1" in printed and f"by process {os.getpid()}" in printed and "BROKEN" not in printed

    content = json.loads((record.folder / "record.json").read_text())
    for edited, told_of in (
        ({**content, "options": {**content["options"], "seed": 7}}, "options.seed"),
        ({**content, "identity": {**content["identity"], "attention": "none"}}, "the identity"),
        ({**content, "id": "0" * 16}, "belongs to 0000000000000000"),
    ):
        write_json(record.folder / "record.json", edited)
        assert status_command([str(runs)]) == 1
        assert told_of in capsys.readouterr().out
    write_json(record.folder / "record.json", content)
    record.video_path.write_bytes(b"")
    assert status_command([str(runs)]) == 1
    assert "BROKEN  " + f"{record.id}: result.mp4 is missing or empty" in capsys.readouterr().out
    assert status_command([str(runs), "--sweep", "tset"]) == 2
