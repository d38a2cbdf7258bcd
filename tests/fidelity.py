"""Agreement with the original's numbers, asserted and noted: what was compared, and the largest difference seen.

`python -m pytest tests --fidelity docs/fidelity.md` writes what it noted into the table of that document.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest

# The rooms in the order of the walk; a comparison belongs to the test module that makes it
WALK = (
    "audio",
    "landmarks",
    "faces",
    "geometry",
    "masks",
    "unet",
    "denoise",
    "composite",
    "original_run",
    "syncnet",
)
TABLE_BEGINS, TABLE_ENDS = "<!-- table begins -->", "<!-- table ends -->"


@dataclass(frozen=True)
class Agreement:
    """One comparison: the largest absolute difference from the reference, and what it may be."""

    room: str
    stage: str
    reference: str
    largest: float
    within: float
    unit: str
    typical: float  # largest absolute value of the reference, for scale

    def row(self) -> str:
        largest, within = (f"{value:.2g} {self.unit}".strip() for value in (self.largest, self.within))
        return f"| {self.stage} | {self.reference} | {largest} | {within} | {self.typical:.3g} |"


class Agreements:
    """Asserts closeness and remembers the worst of each stage."""

    def __init__(self) -> None:
        self._worst: dict[tuple[str, str], Agreement] = {}

    def __call__(self, room: str, stage: str, got, expected, *, within: float, reference: str, unit="") -> None:
        """Asserts that `got` equals `expected` to `within`, absolute, and notes the largest difference.

        Args:
            room: which of `WALK`.
            stage: what was computed, as a reader of the table calls it.
            reference: where the expected numbers come from.
            unit: of both, where they have one.
        """
        got, expected = _numbers(got), _numbers(expected)
        assert got.shape == expected.shape, f"{stage}: shape {got.shape} instead of {expected.shape}"
        largest = float(np.abs(got - expected).max())
        noted = Agreement(room, stage, reference, largest, within, unit, float(np.abs(expected).max()))
        before = self._worst.get((stage, reference))
        if before is None or before.largest < largest:
            self._worst[stage, reference] = noted
        assert largest <= within, f"{stage}: largest difference from {reference} is {largest:.3g}, above {within:g}"

    def table(self) -> str:
        head = "| stage | compared with | largest difference | bound of the test | largest value |\n"
        noted = sorted(self._worst.values(), key=lambda agreement: WALK.index(agreement.room))  # stable: as tested
        return head + "| - | - | - | - | - |\n" + "\n".join(agreement.row() for agreement in noted)

    def write(self, document: Path) -> None:
        """Puts the table between the document's two markers.

        Raises:
            UsageError: a room has noted nothing, so the table would be a part of itself.
        """
        if silent := [room for room in WALK if room not in {noted.room for noted in self._worst.values()}]:
            raise pytest.UsageError(f"nothing was compared in {', '.join(silent)}; run all of tests/ for {document}")
        before, rest = document.read_text().split(TABLE_BEGINS)
        _, after = rest.split(TABLE_ENDS)
        document.write_text(f"{before}{TABLE_BEGINS}\n{self.table()}\n{TABLE_ENDS}{after}")


def _numbers(values) -> np.ndarray:
    if hasattr(values, "detach"):  # a tensor; torch is not imported here, since every process of pytest reads this file
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=np.float64)


AGREEMENTS = Agreements()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fidelity", type=Path, help="a document whose table of agreements is to be written anew")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    document = session.config.getoption("--fidelity")
    if document is not None and exitstatus == pytest.ExitCode.OK:
        AGREEMENTS.write(document)


@pytest.fixture
def agree(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Asserts that numbers equal the original's and notes how well; see `Agreements.__call__`."""
    return partial(AGREEMENTS, request.module.__name__.removeprefix("test_"))
