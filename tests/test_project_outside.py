"""The project of docs/projects.md, outside this repository, with a data set, a model, a sampler and a solver."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from doc_scripts import DOCS
from short_clips import clip_folder

from latentsync.checkpoints.model import MODELS_DIR
from latentsync.lab.tables.tidy import collect_wide

ROOT = DOCS.parent
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


def latentsync(project: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": f"{project / 'site'}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "latentsync", *arguments]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=300)


def test_it_is_planned_run_and_reported(project):
    page = (DOCS / "projects.md").read_text()
    plan, run, report = (line.split()[1:] for line in re.search(r"```bash\n(.*?)```", page, re.DOTALL)[1].splitlines())
    planned = latentsync(project, *plan, *QUICK)
    assert planned.returncode == 0 and "2 cells, 2 records: 0 cached, 2 to make" in planned.stdout, planned
    assert not any((project / "runs").rglob("record.json"))
    made = latentsync(project, *run, *QUICK)
    assert made.returncode == 0, made
    table = collect_wide(project / "runs", "mine")
    assert set(table["guidance_scale"]) == {1.5, 2.0} and set(table["scheduler"]) == {"my_euler"}
    records = [json.loads(path.read_text()) for path in (project / "runs").rglob("record.json")]
    assert len(records) == 2 and {record["options"]["scheduler"] for record in records} == {"my_euler"}
    assert "nothing to do" in latentsync(project, *run, *QUICK).stdout
    assert latentsync(project, *report).returncode == 0
    assert "my_euler" in (project / "runs" / "sweeps" / "mine" / "report.html").read_text()


def test_a_solver_that_is_not_installed_is_refused_with_those_that_are(project):
    arguments = ["run", "--config-dir", "configs", "experiment=mine", "sampler.scheduler=my_eular", "name=typo", *QUICK]
    refused = latentsync(project, *arguments)
    assert refused.returncode == 2 and "did you mean my_euler" in refused.stderr, refused
    assert not (project / "runs" / "sweeps" / "typo").exists()
