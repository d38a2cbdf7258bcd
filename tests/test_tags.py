"""Tags and remarks beside records: added, removed, shown and filtered, and the record stays as it is."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from record_content import sound_record
from record_schemas import validator

from latentsync.errors import OptionError
from latentsync.lab.commands.collect import main as collect
from latentsync.lab.commands.status import main as status
from latentsync.lab.commands.tag import main
from latentsync.lab.records.store import RECORD_FILE, TAGS_FILE, RecordStore
from latentsync.lab.records.tags import Tags, read_tags, tag
from latentsync.lab.serving.columns import facts_of
from latentsync.lab.serving.details import details_of
from latentsync.lab.tables.filter import with_tags
from latentsync.lab.tables.tidy import collect_wide, read_table


@pytest.fixture
def runs(tmp_path):
    """A runs folder with two records, and their ids."""
    runs = tmp_path / "runs"
    return runs, *[sound_record(runs, seed, seed=seed).id for seed in (1, 2)]


def tags_in(runs, record_id):
    return read_tags(RecordStore(runs).look(record_id))


def test_the_command_adds_removes_and_shows(runs, capsys):
    folder, first, second = runs
    before = (folder / "records" / first / RECORD_FILE).read_bytes()
    assert main([first, second, "+best", "+paper-2", "--runs", str(folder), "--note", "sharp\n  teeth"]) == 0
    assert main(["--runs", str(folder), first, "-best", "+draft"]) == 0
    assert tags_in(folder, first) == Tags(("draft", "paper-2"), "sharp teeth")
    assert tags_in(folder, second) == Tags(("best", "paper-2"), "sharp teeth")
    content = json.loads((folder / "records" / first / TAGS_FILE).read_text())
    assert not list(validator(TAGS_FILE, is_closed=True).iter_errors(content))
    capsys.readouterr()
    assert main([first, "--runs", str(folder)]) == 0
    assert capsys.readouterr().out == f"{first}  draft; paper-2  (sharp teeth)\n"
    assert main([first, "-draft", "-paper-2", "--remark", "", "--runs", str(folder)]) == 0
    assert not (folder / "records" / first / TAGS_FILE).exists()
    assert (folder / "records" / first / RECORD_FILE).read_bytes() == before
    assert RecordStore(folder).look(first).fault(is_deep=True) is None


@pytest.mark.parametrize("word", ["+two words", "+a;b", "+", "++best", "+a\u001bb", "+" + "x" * 65, "-a,b"])
def test_what_is_no_word_is_refused_and_changes_nothing(runs, word, capsys):
    folder, first, _ = runs
    assert main([first, "+good", word, "--runs", str(folder)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert tags_in(folder, first) == Tags()


def test_a_record_that_is_not_there_changes_no_other(runs, capsys):
    folder, first, _ = runs
    assert main([first, "0123456789abcdef", "+good", "--runs", str(folder)]) == 2
    assert "there is no record at 0123456789abcdef" in capsys.readouterr().err
    assert main(["+good", "--runs", str(folder)]) == 2
    assert "no record is given" in capsys.readouterr().err
    assert tags_in(folder, first) == Tags()
    with pytest.raises(OptionError, match="2001 characters"):
        tag(RecordStore(folder).look(first), remark="x" * 2001)


def test_tables_have_tags_and_filter_by_them(runs, tmp_path, capsys):
    folder, first, second = runs
    tag(RecordStore(folder).look(first), ["best", "paper"], remark="odd smile")
    tag(RecordStore(folder).look(second), ["best"])
    wide = collect_wide(folder).set_index("record")
    assert wide.loc[first, ["tags", "remark"]].tolist() == ["best; paper", "odd smile"]
    assert wide["remark"].isna()[second]
    assert list(with_tags(collect_wide(folder), ["best", "paper"])["record"]) == [first]
    file = str(tmp_path / "table.parquet")
    assert collect([str(folder), "--wide", "--tag", "paper", "--output", file]) == 0
    assert list(read_table(file)["record"]) == [first]
    assert collect([str(folder), "--tag", "pape", "--output", file]) == 2
    assert "with the tag pape" in capsys.readouterr().err
    assert facts_of("tags")["role"] == "mark"
    assert details_of(RecordStore(folder).look(first), folder)["facts"]["remark"] == "odd smile"


def test_of_two_writers_both_tags_stay(runs):
    folder, first, _ = runs
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: tag(RecordStore(folder).look(first), [f"t{number}"]), range(8)))
    assert len(tags_in(folder, first).words) == 8


def test_a_damaged_file_is_named_costs_no_row_and_is_written_anew(runs, capsys):
    folder, first, _ = runs
    (folder / "records" / first / TAGS_FILE).write_text('{"tags": [7]}')
    assert len(collect_wide(folder)) == 2
    assert "tags is no list of texts" in capsys.readouterr().err
    assert status([str(folder)]) == 1
    assert f"BROKEN  {first}: {TAGS_FILE}: is damaged" in capsys.readouterr().out
    assert main([first, "+good", "--runs", str(folder)]) == 0 and tags_in(folder, first) == Tags(("good",))


def test_a_damaged_record_that_is_made_anew_inherits_its_tags(runs):
    folder, first, _ = runs
    store = RecordStore(folder)
    record = store.look(first)
    tag(record, ["best"])
    whole = {path.name: path.read_bytes() for path in record.folder.iterdir() if path.name != TAGS_FILE}
    record.video_path.write_bytes(b"cut")
    with store.new(first) as part:
        for name, data in whole.items():
            (part / name).write_bytes(data)
    assert tags_in(folder, first) == Tags(("best",))
    assert len(list((folder / "set_aside").iterdir())) == 1
