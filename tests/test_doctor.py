"""`latentsync doctor`: it names what is wrong on a machine, says what to do, and changes nothing."""

import json
import os
from types import SimpleNamespace

import pytest

from latentsync import disk
from latentsync.lab.commands.doctor import main
from latentsync.lab.console import FAILED
from latentsync.lab.jobs import doctor
from latentsync.lab.jobs.doctor import Finding, diagnose

ALMOST_FULL = SimpleNamespace(free=1e8)
AREAS = ["environment", "packages", "codecs", "devices", "attention", "weights", "runs folder"]


def states(findings) -> dict[str, str]:
    return {one.name: one.state for one in findings}


def test_a_table_or_json_with_every_area_and_nothing_written(tmp_path, capsys):
    runs = tmp_path / "not" / "yet"
    status = main([str(runs), "--json"])
    facts = json.loads(capsys.readouterr().out)
    findings = facts["findings"]
    assert list(dict.fromkeys(one["area"] for one in findings)) == AREAS
    assert facts["healthy"] == (status == 0) == (not any(one["state"] == "problem" for one in findings))
    assert all((one["state"] == "ok") != bool(one["remedy"]) for one in findings)
    by_name = {one["name"]: one["value"] for one in findings}
    assert by_name["writes"] == "libx264, aac, flac" and "hevc" in by_name["reads"]
    assert by_name["locks"] == "yes" and by_name["sdpa"] == "runs" and by_name["folder"].endswith("(not made yet)")
    assert os.listdir(tmp_path) == []


def test_problems_end_with_status_1_and_their_remedy(monkeypatch, capsys):
    findings = (
        Finding("codecs", "writes aac", "no", "problem", "install it"),
        Finding("codecs", "reads av1", "no", "note", "x"),
    )
    monkeypatch.setattr(doctor, "diagnose", lambda runs: doctor.Diagnosis(findings))
    assert main([]) == FAILED
    lines = capsys.readouterr().out.splitlines()
    assert "problem  writes aac: install it" in lines and "note     reads av1: x" in lines and lines[-1] == "1 problem"
    monkeypatch.setattr(doctor, "diagnose", lambda runs: doctor.Diagnosis(findings[1:]))
    assert main([]) == 0 and capsys.readouterr().out.endswith("no problems\n")


def test_packages_that_are_missing_or_out_of_bounds(monkeypatch):
    needs = [
        "av>=1,<2",
        "numpy>=1",
        "nowhere-to-be-found>=1",
        'absent-extra>=1; extra == "dev"',
        'ruff<0.1; extra == "dev"',
    ]
    monkeypatch.setattr(doctor, "requires", lambda name: needs)
    found = {one.name: one for one in doctor.packages()}
    assert (found["av"].state, found["numpy"].state, found["ruff"].state) == ("problem", "ok", "note")
    assert "pip install 'av<2,>=1'" in found["av"].remedy
    assert "pip install 'nowhere-to-be-found>=1'" in found["nowhere-to-be-found"].remedy
    assert "absent-extra" not in found


def test_codecs_that_are_missing(monkeypatch):
    monkeypatch.setattr(doctor, "_has_codec", lambda name, mode: name not in ("aac", "hevc"))
    found = states(doctor.codecs())
    assert found["writes aac"] == "problem" and found["reads hevc"] == found["reads aac"] == "note"


def test_weights_that_are_damaged_or_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTSYNC_CACHE", str(tmp_path))
    name = "lpips/alexnet.ckpt"
    (tmp_path / "lpips").mkdir()
    (tmp_path / name).write_bytes(b"x")
    found = {one.name: one for one in doctor.weights()}
    assert found[name].state == "problem" and "is damaged or another version" in found[name].remedy
    assert found["lpips/vgg16.ckpt"].value == "not here" and found["lpips/vgg16.ckpt"].state == "problem"
    monkeypatch.setattr(doctor, "HASHED_BYTES", 0)
    (tmp_path / name).write_bytes(b"xy")
    assert {one.name: one.state for one in doctor.weights()}[name] == "note"


@pytest.mark.parametrize(
    ("change", "name", "state"),
    [
        (lambda patch: patch(doctor, "has_locks", lambda folder: False), "locks", "problem"),
        (lambda patch: patch(disk.system, "exchange", _refuse), "exchange of names", "note"),
        (lambda patch: patch(doctor.shutil, "disk_usage", lambda _: ALMOST_FULL), "free space", "problem"),
        (lambda patch: patch(disk.system, "link", _refuse), "links", "note"),
        (lambda patch: patch(disk.system, "make_folder", _refuse), "writing", "problem"),
    ],
)  # fmt: skip
def test_what_a_file_system_cannot_do(tmp_path, monkeypatch, change, name, state):
    assert all(one == "ok" for one in states(doctor.runs_folder(tmp_path)).values())
    change(monkeypatch.setattr)
    assert states(doctor.runs_folder(tmp_path))[name] == state


def _refuse(*_: object, **__: object) -> None:
    raise PermissionError(1, "Operation not permitted")


def test_a_runs_folder_that_is_a_file(tmp_path):
    (tmp_path / "runs").touch()
    assert states(doctor.runs_folder(tmp_path / "runs" / "inner"))["kind"] == "problem"


def test_a_look_that_fails_is_a_problem_and_the_others_go_on(tmp_path, monkeypatch):
    def broken():
        raise RuntimeError("libcuda is broken")

    monkeypatch.setattr(doctor, "devices", broken)
    found = [one for one in diagnose(tmp_path).findings if one.area in ("devices", "runs folder")]
    assert found[0].state == "problem" and "libcuda is broken" in found[0].remedy and len(found) > 1
