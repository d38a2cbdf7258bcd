"""How the records of a sweep were made: days, versions, weights, and the protocol of each metric."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from latentsync.lab.records.store import Record

PROTOCOL = ("unit", "direction", "network", "weights", "version", "protocol")


@dataclass
class Provenance:
    """What all records of a sweep say of how they were made.

    Attributes:
        made: the first and the last day.
        versions, weights: name -> its values.
        protocols: the network and protocol of each metric, one row for each combination and version.
    """

    made: tuple[str, ...] = ()
    versions: dict[str, list[str]] = field(default_factory=dict)
    weights: dict[str, list[str]] = field(default_factory=dict)
    protocols: list[dict] = field(default_factory=list)


def provenance_of(records: Iterable[Record]) -> Provenance:
    """Reads each record once and keeps only what differs."""
    days: set[str] = set()
    versions: dict[str, dict[str, None]] = {}
    weights: dict[str, dict[str, None]] = {}
    protocols: dict[tuple, list[int]] = {}
    for record in records:
        content = record.content
        days |= {content["made"][:10]} if "made" in content else set()
        for known, entries in ((versions, content.get("versions")), (weights, content["model"].get("weights_sha256"))):
            for name, value in (entries or {}).items():
                known.setdefault(name, {})[str(value)] = None
        for metric, entry in record.metrics.items():
            counts = protocols.setdefault((metric, *(entry.get(name) for name in PROTOCOL)), [0, 0])
            counts[0] += 1
            counts[1] += entry["value"] is None
    rows = [
        {**dict(zip(("metric", *PROTOCOL), key, strict=True)), "records": number, "without": without}
        for key, (number, without) in sorted(protocols.items(), key=lambda item: str(item[0]))
    ]
    edges = dict.fromkeys((min(days), max(days))) if days else ()
    lists = ({name: list(values) for name, values in known.items()} for known in (versions, weights))
    return Provenance(tuple(edges), *lists, rows)
