"""The log of a training as lines of JSON, one for each logged step; after a kill no step is there twice."""

import json
from pathlib import Path

from latentsync.files import write_text


class Journal:
    """A file of rows `{"step": .., name: value, ..}`.

    Args:
        path: the file; existing rows stay.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> list[dict]:
        """All complete rows; a row that a kill cut short is left out."""
        rows = []
        for line in self.path.read_text().splitlines() if self.path.is_file() else []:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict) and "step" in row:
                rows.append(row)
        return rows

    def go_back_to(self, step: int) -> None:
        """Removes the rows after a step, because these steps will be trained again."""
        rows = [row for row in self.rows() if row["step"] <= step]
        write_text(self.path, "".join(json.dumps(row) + "\n" for row in rows))

    def write(self, step: int, values: dict[str, float]) -> None:
        """Appends a row."""
        with open(self.path, "a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")


class Means:
    """Means of named values since the last line of the log; their sums are part of a checkpoint."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.count = 0

    def add(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count += 1

    def take(self) -> dict[str, float]:
        """Returns the means, and starts again."""
        means = {name: total / self.count for name, total in self.sums.items()}
        self.sums, self.count = {}, 0
        return means
