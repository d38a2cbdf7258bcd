"""One option, as a dataclass field with metadata: its check, its words, and how records and tables treat it."""

import json
import math
import numbers
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any

from latentsync.errors import OptionError, closest_name
from latentsync.plugins import beside

AS_DEFAULT = object()
NOT_USED = "none"  # in a table: the row's other options make this one meaningless


def is_whole(value: object) -> bool:
    """Whether a value is a whole number; True and False are not."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether a value is a finite real number; True and False are not."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True)
class OptionInfo:
    """The metadata of one option.

    Attributes:
        name: of its field.
        default: None if it is left open.
        help: what it does, in a sentence or two.
        label: the text for a value other than the default: "guidance in the {}"; "" where no table names it.
        word: the heading of its column in reports.
        choices: the allowed words; empty for a number.
        plugins: the group of entry points whose names are allowed beside `choices`; empty for none.
        least, most: the bounds of a number; None if it has none.
        whole: whether the number must be a whole one.
        multiple: the number must be a multiple of this.
        hint: the usual value, for error messages.
        unit: of a number: "px", "frames"; "" if it has none.
        source: the paper that it comes from ("arXiv 2404.07724"), or the original's name for it; "" if it has neither.
        is_open: whether None is allowed, and leaves it open.
        absent: the value that was in effect in records made before the option existed; AS_DEFAULT: the default.
        in_identity: whether the id of a record covers the option. "always": it does, in every record. "departure": only
            if the value differs from the one in effect before the option existed. "beside": under a name of its own.
            "never": it does not, since the option does not change the pixels.
        is_recorded: whether records keep it.
        by_pair: whether its open value depends on the pair. Then two values in a table are not two settings.
        in_cost: whether the time of one pass of the network depends on it.
    """

    name: str
    default: Any
    help: str
    label: str = ""
    word: str = ""
    choices: tuple[str, ...] = ()
    plugins: str = ""
    least: float | None = None
    most: float | None = None
    whole: bool = False
    multiple: int = 1
    hint: str = ""
    unit: str = ""
    source: str = ""
    is_open: bool = False
    absent: Any = AS_DEFAULT
    in_identity: str = "departure"
    is_recorded: bool = True
    by_pair: bool = False
    in_cost: bool = False

    @property
    def record_default(self) -> Any:
        """The value that was in effect in records made before the option existed."""
        return self.default if self.absent is AS_DEFAULT else self.absent

    @property
    def is_text(self) -> bool:
        """Whether tables hold it as text."""
        return not self.whole and self.least is None

    @property
    def allowed(self) -> tuple[str, ...]:
        """The words that it takes: `choices`, and the names that installed packages add."""
        return (*self.choices, *beside(self.plugins, self.choices)) if self.plugins else self.choices

    def check(self, value: Any, name: str | None = None) -> None:
        """Refuses a value that the option cannot take.

        Raises:
            OptionError: the message names the value, the bound and what to give instead.
        """
        name = name or self.name
        if value is None and self.is_open:
            return
        if self.choices:
            if value not in self.choices and value not in (allowed := self.allowed):
                near = closest_name(str(value), allowed)
                hint = f" (did you mean {near}?)" if near else ""
                or_open = ", or null to leave it open" if self.is_open else ""
                raise OptionError(f"{name} {value!r} is unknown; choose one of {', '.join(allowed)}{or_open}{hint}")
        elif isinstance(self.default, bool):
            if not isinstance(value, bool):
                raise OptionError(f"{name} is {value!r}; it must be {self.wanted}")
        elif self.whole or self.least is not None:
            fits = (is_whole if self.whole else is_number)(value)
            fits = fits and (self.least is None or value >= self.least) and (self.most is None or value <= self.most)
            if not (fits and (self.multiple == 1 or value % self.multiple == 0)):
                text = repr(value) if isinstance(value, str) else value
                hint = f" ({self.hint})" if self.hint else ""
                or_open = ", or null to leave it open" if self.is_open else ""
                raise OptionError(f"{name} is {text}; it must be {self.wanted}{or_open}{hint}")

    @property
    def wanted(self) -> str:
        """The allowed values in words: "a whole number of at least 1"; "" if every text is allowed."""
        if self.allowed:
            return f"{'one of ' * (len(self.allowed) > 1)}{', '.join(self.allowed)}"
        if isinstance(self.default, bool):
            return "true or false"
        if not self.whole and self.least is None:
            return ""
        if self.multiple > 1:
            kind = f"a multiple of {self.multiple}"
        else:
            kind = "a whole number" if self.whole else "a finite number"
        if self.most is None:
            return f"{kind} and at least {self.least}" if self.multiple > 1 else f"{kind} of at least {self.least}"
        return f"{kind} from {self.least} to {'2^63-1' if self.most == 2**63 - 1 else self.most}"

    def described(self, default: Any) -> str:
        """The documentation of the option: name, default, what it does, what is allowed."""
        return f"{self.name}={default!r}: {self.explained}"

    @property
    def explained(self) -> str:
        """What the option does, its unit, what is allowed, and where it comes from, in short sentences."""
        wanted = "" if isinstance(self.default, bool) else self.wanted
        facts = {"Unit": self.unit, "Allowed": wanted, "Source": self.source}
        return " ".join([self.help, *(f"{name}: {text}." for name, text in facts.items() if text)])

    def departs(self, value: Any) -> bool:
        """Whether a resolved value differs from the usual one, so that a label must name it.

        The usual value is the default or, for an open option, the one in effect before the option existed. Without
        either, no value differs.
        """
        usual = self.record_default if self.default is None else self.default
        return usual is not None and self.cell(value) not in (self.cell(usual), NOT_USED)

    def is_covered(self, value: Any) -> bool:
        """Whether the id of a record covers a resolved value."""
        if self.in_identity == "departure":
            return self.cell(value) != self.cell(self.record_default)
        return self.in_identity == "always"

    def text(self, value: Any) -> str:
        """A value in words: "guidance in the mouth"."""
        return self.label.format(f"{value:g}" if isinstance(value, float) else self.cell(value))

    @staticmethod
    def cell(value: Any) -> Any:
        """A resolved value as tables hold it: lists as JSON, None and missing values as "none"."""
        if value is None or (not isinstance(value, str) and str(value) in ("nan", "<NA>")):  # NumPy's, pandas'
            return NOT_USED
        return json.dumps(list(value)) if isinstance(value, list | tuple) else value

    def value(self, cell: Any) -> Any:
        """The resolved value that a table's cell holds; None if it is missing or not used."""
        if self.cell(cell) == NOT_USED or cell == NOT_USED:
            return None
        return json.loads(cell) if isinstance(cell, str) and not self.choices and cell.startswith("[") else cell


def option(default: Any, help: str, label: str = "", word: str = "", **facts: Any) -> Any:
    """A dataclass field that is an option; `facts` are further attributes of `OptionInfo`."""
    return field(default=default, metadata={"help": help, "label": label, "word": word, **facts})


@cache
def section_infos(kind: type) -> tuple[OptionInfo, ...]:
    """The metadata of each option of a section such as `SamplerOptions`, in order."""
    return tuple(
        OptionInfo(one.name, one.default, **{**one.metadata, "word": one.metadata["word"] or one.name})
        for one in fields(kind)
    )
