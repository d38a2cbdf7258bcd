"""What is wrong with records on disk: damaged, edited or missing files, and files that cannot be read now."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from latentsync.errors import DamagedFileError, NewerVersionError, sentence_of
from latentsync.files import read_json
from latentsync.lab.records.identity import record_id
from latentsync.lab.records.shape import metrics_fault
from latentsync.lab.records.store import (
    MASK_FILE,
    METRICS_FILE,
    RECORD_FILE,
    RESULT_FILE,
    TAGS_FILE,
    Record,
    RecordStore,
)
from latentsync.lab.records.tags import read_tags
from latentsync.proof import disagreement

MADE_ANEW = "the sweep's next run makes it anew"


def faults(store: RecordStore, ids: Iterable[str] | None = None, is_deep: bool = False) -> Iterator[str]:
    """The faults of records, a line each: missing, cut or changed files, edited content, content of another record.

    Args:
        ids: check only these records, where they exist; None checks every folder of the store.
        is_deep: whether to compare the hashes of whole files, and not only their sizes and samples.

    Raises:
        OSError: the folder of the records cannot be read now.
    """
    ids = None if ids is None else set(ids)
    for name in store.ids() if ids is None else sorted(ids.intersection(store.ids() if ids else ())):
        try:
            yield from (f"{name}: {fault}" for fault in _faults_of(Record(store.root / name), is_deep))
        except NewerVersionError as error:
            yield f"{name}: {str(error).removeprefix(f'record {name} ')}"
        except OSError as error:
            yield f"{name}: {sentence_of(error)}"


def _faults_of(record: Record, is_deep: bool) -> Iterator[str]:
    if (fault := record.fault(is_deep)) is not None:
        yield f"{fault}; {MADE_ANEW}"
    try:
        yield from faults_of_content(record)
    except DamagedFileError:
        return
    yield from _fault_of_metrics(record)
    try:
        read_tags(record)
    except DamagedFileError as error:
        yield f"{TAGS_FILE}: is damaged ({error}); `latentsync tag` writes it anew"


def faults_of_content(record: Record) -> Iterator[str]:
    """What was edited in record.json by hand, and which files a record lacks that has no proof.

    Raises:
        DamagedFileError: record.json is missing, cut or no whole record.
        NewerVersionError: a newer version wrote it.
        OSError: a file cannot be read now.
    """
    content = record.own_content
    if content.get("id") != record.id:
        yield f"{RECORD_FILE} belongs to {content.get('id')}; remove the folder"
    elif record_id(content.get("identity", {})) != record.id:
        yield f"the identity in {RECORD_FILE} was edited and now gives another id; remove the folder"
    elif edited := _edited(content):
        yield f"{', '.join(edited)} in {RECORD_FILE} was edited; remove the folder"
    older = {} if "files" in content else {RESULT_FILE: {}, MASK_FILE: {}}
    if (fault := disagreement(record.folder, older)) is not None:
        yield f"{fault}; remove the folder to make it again"


def _fault_of_metrics(record: Record) -> Iterator[str]:
    try:
        metrics = read_json(record.metrics_path)
        fault = "is missing" if metrics is None else metrics_fault(metrics)
    except DamagedFileError as error:
        fault = f"is damaged ({error})"
    if fault is not None:
        yield f"{METRICS_FILE}: {fault}; `latentsync measure` writes it"


def _edited(content: Mapping[str, Any]) -> list[str]:
    """Options whose value in record.json differs from the id's."""
    options, values = content["identity"].get("options", {}), content.get("options", {})
    return [f"options.{name}" for name, value in options.items() if values.get(name) != value]
