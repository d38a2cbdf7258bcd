"""The number by which a search compares cells: the mean of a metric over the pairs of a cell."""

import math
from collections.abc import Iterable

from latentsync.errors import OptionError
from latentsync.lab.records.store import Record
from latentsync.lab.tracking.trackers import values_of


def objective_of(records: Iterable[Record], name: str) -> float:
    """The mean of a metric over the records that have it.

    Args:
        name: a metric, or `seconds`.

    Raises:
        OptionError: no record has it.
    """
    records = list(records)
    values = [value for record in records if (value := values_of(record).get(name)) is not None]
    if not values:
        raise OptionError(
            f"objective {name} has no value in the {len(records)} records of this cell; choose metrics that measure it "
            f"(`latentsync run --help`)"
        )
    return math.fsum(values) / len(values)
