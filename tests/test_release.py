"""What a release says of itself: version, date, citation, licences, classifiers."""

import re
import tomllib
from datetime import date
from pathlib import Path

import pytest
import yaml

from latentsync import __version__
from latentsync.weights import CATALOGUE

ROOT = Path(__file__).resolve().parents[1]
HEADING = re.compile(r"^## (?P<version>\d+\.\d+\.\d+)(?: \((?P<date>[\d-]+)\))?$", re.MULTILINE)


def test_changelog_citation_and_package_have_one_version_and_date():
    released = next(HEADING.finditer((ROOT / "CHANGELOG.md").read_text()))
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert released["version"] == citation["version"] == __version__
    assert date.fromisoformat(released["date"]) == citation["date-released"]


def test_versions_of_the_changelog_are_in_order():
    versions = [tuple(map(int, found["version"].split("."))) for found in HEADING.finditer(_text("CHANGELOG.md"))]
    assert versions == sorted(set(versions), reverse=True)


def _text(name: str) -> str:
    return (ROOT / name).read_text()


def test_the_citation_has_what_the_format_requires():
    """The whole schema is checked by `cffconvert --validate`."""
    citation = yaml.safe_load(_text("CITATION.cff"))
    assert {"cff-version", "title", "message", "authors", "license", "version", "date-released"} <= set(citation)
    assert citation["license"] == tomllib.loads(_text("pyproject.toml"))["project"]["license"]
    assert all("name" in author or "family-names" in author for author in citation["authors"])
    paper = citation["references"][0]
    assert {"type", "title", "authors"} <= set(paper) and "2412.09262" in str(paper["identifiers"])


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_notice_names_each_weight_with_its_licence(name):
    points = [" ".join(point.split()) for point in re.split(r"\n\n|\n- ", _text("NOTICE"))]
    named = [point for point in points if re.search(rf"(^|[ ,]){re.escape(name)}[,:]", point)]
    assert len(named) == 1 and CATALOGUE[name].licence in named[0]


def test_the_notice_names_no_weight_that_is_unknown():
    names = re.findall(r"[\w.-]+/[\w.-]+\.(?:pt|pth|ckpt|bin|tflite|safetensors|model|dat)\b", _text("NOTICE"))
    assert set(names) == set(CATALOGUE)


def test_classifiers_are_those_of_the_index():
    from trove_classifiers import classifiers

    assert set(tomllib.loads(_text("pyproject.toml"))["project"]["classifiers"]) <= classifiers
