"""Tags and a remark of people beside a record, which never change the record.

runs/records/<id>/tags.json     {"tags": ["best", "paper"], "remark": "the smile looks odd at 2 s"}
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from latentsync.errors import DamagedFileError, OptionError
from latentsync.files import read_json, remove, write_json
from latentsync.lab.console import complain
from latentsync.lab.records.shape import are_texts
from latentsync.lab.records.store import TAGS_FILE, Record, RecordStore

LONGEST_TAG, LONGEST_REMARK = 64, 2000  # characters
JOINT = "; "  # between the tags in a table


@dataclass(frozen=True)
class Tags:
    """What people say about a record.

    Attributes:
        words: sorted, each once.
        remark: a text in one line; "" for none.
    """

    words: tuple[str, ...] = ()
    remark: str = ""

    @property
    def text(self) -> str:
        """The words as a cell of a table."""
        return JOINT.join(self.words)


def tags_of(record: Record) -> Tags:
    """The tags of a record. A damaged file is named by `complain`, and counts as none.

    Raises:
        OSError: it cannot be read now.
    """
    try:
        return read_tags(record)
    except DamagedFileError as error:
        complain(f"left out: {error}; `latentsync tag` writes it anew")
        return Tags()


def read_tags(record: Record) -> Tags:
    """The tags of a record.

    Raises:
        DamagedFileError: the file is damaged.
        OSError: it cannot be read now.
    """
    content = read_json(record.folder / TAGS_FILE, tags_fault)
    return Tags() if content is None else Tags(tuple(content["tags"]), content["remark"])


def tag(record: Record, add: Collection[str] = (), remove_: Collection[str] = (), remark: str | None = None) -> Tags:
    """Adds and removes tags of a record, under its claim, so that of two writers both stay.

    Args:
        remove_: tags to take away; one that the record does not have is no error.
        remark: the new remark; "" removes it, None leaves it.

    Returns:
        What the record has now.

    Raises:
        OptionError: a tag or the remark has a character or a length that it must not have.
        OSError: the file cannot be read or written; then it stays as it was.
    """
    for word in (*add, *remove_):
        check_tag(word)
    text = None if remark is None else _one_line(remark)
    with RecordStore(record.runs_dir).claim(record.id, wait=True):
        try:
            before = read_tags(record)
        except DamagedFileError:
            before = Tags()
        words = tuple(sorted({*before.words, *add} - {*remove_}))
        now = Tags(words, before.remark if text is None else text)
        path = record.folder / TAGS_FILE
        if now == Tags():
            remove(path)
        elif now != before:
            write_json(path, {"tags": list(now.words), "remark": now.remark})
    return now


def check_tag(word: str) -> None:
    """Refuses what cannot be a tag.

    Raises:
        OptionError: it is empty or too long, begins with a sign, or has a space or a semicolon.
    """
    has_gap = not word.isprintable() or any(each.isspace() or each in ";," for each in word)
    if not 0 < len(word) <= LONGEST_TAG or has_gap or word[0] in "+-~":
        raise OptionError(
            f"the tag {word[:80]!r} is no single word of at most {LONGEST_TAG} characters; give one without spaces, "
            f"commas, semicolons and signs at its start"
        )


def _one_line(remark: str) -> str:
    text = " ".join(remark.split())
    if len(text) > LONGEST_REMARK:
        raise OptionError(f"the remark has {len(text)} characters; give at most {LONGEST_REMARK}")
    return text


def tags_fault(content: Mapping[str, Any]) -> str | None:
    """Why an object is not the content of tags.json; None if it is."""
    if not are_texts(content.get("tags")):
        return "tags is no list of texts"
    return None if isinstance(content.get("remark"), str) else "remark is no text"
