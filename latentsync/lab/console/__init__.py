"""The terminal: lines, arguments, tables, progress bars, and how every command ends."""

from latentsync.lab.console.arguments import (
    MISUSED,
    ArgumentParser,
    asks_help,
    few_workers,
    number,
    refuse_unknown_option,
    unknown_option,
)
from latentsync.lab.console.ends import BELOW_GATE, CONTINUES, FAILED, INTERRUPTED, PIPE_CLOSED, command
from latentsync.lab.console.lines import (
    VERBOSITY_OPTIONS,
    complain,
    complaints,
    detail,
    escape_output,
    say,
    show,
    take_verbosity,
    warn,
)
from latentsync.lab.console.progress import PairBar, listening
from latentsync.lab.console.tables import paragraph, table_text, terminal_width

__all__ = [
    "BELOW_GATE",
    "CONTINUES",
    "FAILED",
    "INTERRUPTED",
    "MISUSED",
    "PIPE_CLOSED",
    "VERBOSITY_OPTIONS",
    "ArgumentParser",
    "PairBar",
    "asks_help",
    "command",
    "complain",
    "complaints",
    "detail",
    "escape_output",
    "few_workers",
    "listening",
    "number",
    "paragraph",
    "refuse_unknown_option",
    "say",
    "show",
    "table_text",
    "take_verbosity",
    "terminal_width",
    "unknown_option",
    "warn",
]
