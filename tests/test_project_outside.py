"""The project of docs/projects.md, outside this repository, with a data set, a model, a sampler and a solver."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_lines import Answer, answers_of
from doc_scripts import DOCS
from short_clips import clip_folder

from latentsync.checkpoints.model import MODELS_DIR
from latentsync.lab.tables.tidy import collect_wide

QUICK = ["tracker=none", "metrics=none"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """The page's files, a clip and a model, and the page's package installed in `site`."""
    folder = tmp_path_factory.mktemp("project")
    for file in re.finditer(r"```\w+\n# ([\w./]+\.\w+)\n(.*?)```", (DOCS / "projects.md").read_text(), re.DOTALL):
        path = folder / file[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file[2])
    clip_folder(folder / "clips", 0.24)
    shutil.copytree(MODELS_DIR / "mini", folder / "my-model")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", "site", "."], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def answers(project) -> dict[str, Answer]:
    page = (DOCS / "projects.md").read_text()
    plan, run, report = (line.split()[1:] for line in re.search(r"```bash\n(.*?)```", page, re.DOTALL)[1].splitlines())
    lines = {
        "plan": [*plan, *QUICK],
        "misspelt": [
            "run", "--config-dir", "configs", "experiment=mine", "sampler.scheduler=my_eular", "name=typo", *QUICK
        ],
        "run": [*run, *QUICK],
        "run again": [*run, *QUICK],
        "report": report,
    }  # fmt: skip
    return dict(zip(lines, answers_of(list(lines.values()), project, project / "site"), strict=True))


def test_it_is_planned_run_and_reported(project, answers):
    planned, made = answers["plan"], answers["run"]
    assert planned.status == 0 and "2 cells, 2 records: 0 cached, 2 to make" in planned.out, planned
    assert not any(name.endswith("record.json") for name in planned.files)
    assert made.status == 0, made
    table = collect_wide(project / "runs", "mine")
    assert set(table["guidance_scale"]) == {1.5, 2.0} and set(table["scheduler"]) == {"my_euler"}
    records = [json.loads((project / name).read_text()) for name in made.files if name.endswith("record.json")]
    assert len(records) == 2 and {record["options"]["scheduler"] for record in records} == {"my_euler"}
    assert "nothing to do" in answers["run again"].out
    assert answers["report"].status == 0
    assert "my_euler" in (project / "runs" / "sweeps" / "mine" / "report.html").read_text()


def test_a_solver_that_is_not_installed_is_refused_with_those_that_are(answers):
    refused = answers["misspelt"]
    assert refused.status == 2 and "did you mean my_euler" in refused.err, refused
    assert not any("typo" in name for name in refused.files)
