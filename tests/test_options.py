"""One option, one place: a field of latentsync/config.py and its line of YAML are all that an option needs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import latentsync
from latentsync.config import GUIDANCE_INTERVAL, Options, recorded_infos
from latentsync.errors import OptionError
from latentsync.lab.options import CONF_DIR
from latentsync.lab.records.labels import departures
from latentsync.option import NOT_USED

pytestmark = pytest.mark.slow

FIELD = (
    '    toy: str = option("plain", "shows that one line is enough.", "a {} toy", "toy", choices=("plain", "bright"))\n'
)
ANSWERS = """
import json, sys
from pathlib import Path
from latentsync.lab.figures.curves import sweep_figure
from latentsync.lab.pages.contents import gather
from latentsync.lab.pages.means import settings_of
from latentsync.lab.records.labels import cell_label, varied
from latentsync.lab.records.store import RecordStore
from latentsync.lab.tables.tidy import collect_wide, read_table, write_table
from latentsync.lab.widgets.explorer import Explorer

runs = Path(sys.argv[1])
table = collect_wide(runs, "toys")
write_table(table, runs / "table.csv")
page = gather(runs, "toys", detector=lambda frame: [])
print(json.dumps({
    "identities": [r.content["identity"]["options"].get("toy") for r in RecordStore(runs).all()],
    "rows": table[["toy", "crf", "guidance_interval"]].values.tolist(),
    "equal": read_table(runs / "table.csv").equals(table),
    "varied": varied(table),
    "labels": [cell_label(row, varied(table)) for row in table.to_dict("records")],
    "lines": sorted({line.get_label() for axis in sweep_figure(table).axes for line in axis.lines}),
    "report": page.columns,
    "means": len({row.setting for row in page.means if row.metric == "seconds"}),
    "variants": [label for label, _ in Explorer(runs).variant.options],
}))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory, clips):
    """What the toolkit says of a sweep over an option that only a copy of it has, beside two that are easily missed."""
    root = tmp_path_factory.mktemp("toolkit")
    package = Path(latentsync.__file__).parent
    shutil.copytree(package, root / "latentsync", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(CONF_DIR, root / "conf")
    config, page = root / "latentsync" / "config.py", root / "conf" / "config.yaml"
    before = "    reference: str | None = option("
    assert before in config.read_text() and "video:\n" in page.read_text()
    config.write_text(config.read_text().replace(before, FIELD + before, 1))
    page.write_text(page.read_text().replace("video:\n", "video:\n  toy: plain\n", 1))
    runs = root / "runs"
    command = [
        "-m", "latentsync", "run", "-m", "data=folder", f"data.input_dir={clips}", f"runs_dir={runs}", "name=toys",
        "metrics=none", "tracker=none", "sampler.num_inference_steps=1", "sampler.guidance_schedule=interval",
        "sampler.guidance_interval=[0.0,0.5],[0.2,0.8]", "video.crf=18,28", "video.toy=plain,bright",
    ]  # fmt: skip
    outputs = []
    for arguments in (command, ["-c", ANSWERS, str(runs)]):
        done = subprocess.run(
            [sys.executable, *arguments], cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True,
            text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        outputs.append(done.stdout)
    return json.loads(outputs[-1].splitlines()[-1])


def test_an_option_of_one_line_is_part_of_an_id_where_it_departs(answers):
    assert sorted(answers["identities"], key=str) == [*[None] * 4, *["bright"] * 4]


def test_every_option_has_its_column_and_tells_settings_apart(answers):
    expected = [
        [toy, crf, interval]
        for toy in ("bright", "plain")
        for crf in (18, 28)
        for interval in ("[0.0, 0.5]", "[0.2, 0.8]")
    ]
    assert sorted(answers["rows"]) == expected and answers["equal"]
    assert answers["varied"] == ["guidance_interval", "crf", "toy"]


def test_labels_means_figures_report_and_explorer_follow(answers):
    labels = answers["labels"]
    assert len(set(labels)) == 8
    assert labels[0].startswith("guidance 1.8, 1 steps, seed 1247, interval guidance, guided in [0.")
    assert sum("a bright toy" in label and "crf 28" in label for label in labels) == 2
    assert sum(not line.startswith("_") for line in answers["lines"]) == 8
    assert answers["report"][1:] == ["interval", "crf", "toy"] and answers["means"] == 8
    assert len(set(answers["variants"])) == 8 and all("toy" in variant for variant in answers["variants"])


def test_options_are_taken_by_name_and_an_unknown_one_gets_the_closest():
    options = Options.of(seed=7, crf=28, batch_size=2)
    assert (options.sampler.seed, options.video.crf, options.runtime.batch_size) == (7, 28, 2)
    assert options.changed(seed=8).sampler.seed == 8 and options.sampler.seed == 7
    with pytest.raises(OptionError, match=r"guidance_scal .* did you mean guidance_scale\?"):
        Options.of(guidance_scal=2.0)
    with pytest.raises(OptionError, match=r"guidance_scale is '1.5'; .* of at least 0"):
        Options.of(guidance_scale="1.5")


def test_a_table_holds_what_a_record_holds():
    infos = recorded_infos()
    assert "batch_cells" not in infos and "size_px" in infos and "width" not in infos
    interval = infos["guidance_interval"]
    assert interval.value(interval.cell(GUIDANCE_INTERVAL)) == list(GUIDANCE_INTERVAL)
    assert interval.value(interval.cell(None)) is None
    assert all(info.help.endswith(".") and "{}" in info.label for info in infos.values())


def test_a_missing_whole_number_of_a_table_counts_as_not_used():
    info = recorded_infos()["voice_track"]
    for missing in (None, float("nan"), pd.NA, pd.array([pd.NA], "Int64")[0]):
        assert info.cell(missing) == NOT_USED and info.value(missing) is None
    assert departures({"voice_track": pd.NA}) == []
