"""Whether the files of records follow the published schemas."""

import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from latentsync.lab.records.identity import record_id
from latentsync.lab.records.schema import SCHEMAS
from latentsync.lab.records.shape import SCHEMA_KEY
from latentsync.lab.records.store import RECORD_FILE


@cache
def validator(name: str, is_closed: bool = False) -> Draft202012Validator:
    """The validator of a file of a record.

    Args:
        is_closed: whether a field that the schema does not name is a fault, too.
    """
    schema = SCHEMAS[name]()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(_closed(schema) if is_closed else schema)


def _closed(schema: Any) -> Any:
    """A schema whose objects have no other fields than those that it names."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(each) for name, each in schema.items() if name != "if"}
    closed |= {"if": schema["if"]} if "if" in schema else {}
    is_list_of_fields = closed.get("type") == "object" and "properties" in closed
    return {"additionalProperties": False, **closed} if is_list_of_fields else closed


def schema_faults(folder: Path) -> Iterator[str]:
    """Where the files of a record do not follow their schemas, a line each."""
    content = json.loads((folder / RECORD_FILE).read_text())
    for name in SCHEMAS:
        if (folder / name).is_file():
            is_closed = name != RECORD_FILE or SCHEMA_KEY in content
            for error in validator(name, is_closed).iter_errors(json.loads((folder / name).read_text())):
                yield f"{folder / name}: {error.json_path}: {error.message[:200]}"


def made_records(root: Path) -> Iterator[Path]:
    """The folders below a root with records that the program made, as it made them."""
    for path, folders, files in os.walk(root):
        folder = Path(path)
        if "latentsync" in folders:  # a copy of the toolkit, with options of its own
            folders.clear()
        if RECORD_FILE in files and folder.parent.name == "records":
            folders.clear()
            if is_as_made(folder):
                yield folder


def is_as_made(folder: Path) -> bool:
    """Whether a record was made by the program, and not written or edited by a test."""
    try:
        content = json.loads((folder / RECORD_FILE).read_text())
        identity = content["identity"]
        is_own = "clip_sha256" in identity and record_id(identity) == content["id"] == folder.name
        return is_own and all(content["options"].get(name) == value for name, value in identity["options"].items())
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        return False
