"""Compares the files of a runs folder, or of a folder job's outputs, with the hashes that they were made with."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from latentsync.errors import sentence_of
from latentsync.files import entries, find_json
from latentsync.lab.records.faults import faults
from latentsync.lab.records.store import RecordStore
from latentsync.proof import disagreement, proof_in


@dataclass(frozen=True)
class ProofCheck:
    """What a check of proven files found.

    Attributes:
        kind: what was counted: "records" or "outputs".
        number: how many there are.
        faults: a line for each fault, with the record or file that it is about.
    """

    kind: str
    number: int
    faults: list[str]

    def text(self) -> str:
        """A line for each fault, and one that counts."""
        count = f"{self.number} {self.kind}, {len(self.faults)} faults"
        return "\n".join([*(f"BROKEN  {line}" for line in self.faults), count])

    def to_json(self) -> str:
        """Everything as JSON."""
        return json.dumps(asdict(self), indent=2)


def faults_in(source: Path) -> ProofCheck | None:
    """Checks a runs folder or the outputs of a folder job; None if a path is neither.

    Raises:
        OSError: the folder cannot be read now.
    """
    if (source / "records").is_dir():
        store = RecordStore(source)
        return ProofCheck("records", len(store.ids()), list(faults(store, is_deep=True)))
    if not source.is_dir():
        return None
    number, lines = 0, []
    for path in entries(source):
        if path.suffix == ".json" and path.is_file():
            try:
                if files := proof_in(find_json(path) or {}):
                    number += 1
                    if (fault := disagreement(source, files, is_deep=True)) is not None:
                        lines.append(f"{path.name}: {fault}; run the folder job again to make it anew")
            except OSError as error:
                lines.append(sentence_of(error))
    return ProofCheck("outputs", number, lines) if number or lines else None
