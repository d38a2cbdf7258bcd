"""What a reader changes in a file, so that results and records can say it: colours, fields, transparency, channels."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Conversion:
    """One change that a reader makes.

    Attributes:
        name: a short name, which the record's identity covers, with the number of its version. Raise the number when a
            change of the code changes pixels or samples.
        note: what is said about it to the reader of a result's line, after the words "the clip" or "the voice".
        changes: whether pixels or samples change, so that identities cover it.
    """

    name: str
    note: str
    changes: bool = True
