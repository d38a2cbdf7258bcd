"""What was measured of single cases, kept in a file, so that a stopped evaluation goes on at the next case.

Rows share what they need of a case, in one call or in several.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from latentsync.files import find_json, write_json

CASES_FILE = "cases.json"  # NaN stands in it as Python writes it


class KeptCases:
    """Numbers of cases by measure, in lists and objects.

    Args:
        path: the file, written after each case; None: they stay in memory.
        identity: what the cases of the file must share, as read from JSON; those of another identity are left out.

    Attributes:
        anew: whether cases that an earlier run measured are measured again when they are asked for. Others stay.
    """

    def __init__(self, path: Path | None = None, identity: dict | None = None) -> None:
        self._path, self._identity = path, identity
        content = {} if path is None else find_json(path, _fault_of) or {}
        is_same = content.get("identity") == identity
        self._cases: dict[str, dict[str, Any]] = content.get("cases", {}) if is_same else {}
        self._measured: set[tuple[str, str]] = set()  # in this run
        self.anew = False

    def of(self, measure: str, case: str, measured: Callable[[], Any]) -> Any:
        """The numbers of a measure of a case, as read from JSON; measured if they are not kept."""
        cases = self._cases.setdefault(measure, {})
        if case not in cases or (self.anew and (measure, case) not in self._measured):
            cases[case] = json.loads(json.dumps(measured()))
            self._measured.add((measure, case))
            if self._path is not None:
                write_json(self._path, {"identity": self._identity, "cases": self._cases})
        return cases[case]


def _fault_of(content: dict) -> str | None:
    cases = content.get("cases")
    has_form = isinstance(cases, dict) and all(isinstance(each, dict) for each in cases.values())
    return None if has_form else "it has no cases by measure"
