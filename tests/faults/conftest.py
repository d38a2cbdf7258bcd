"""Prints the campaign's table at the end, also when several processes ran it."""

from collections import Counter

from faults.campaign import Row, table

PROPERTY = "fault"  # of a test: the fault, and how often there was each outcome


def pytest_terminal_summary(terminalreporter):
    """Hook of pytest."""
    reports = [report for name in ("passed", "failed") for report in terminalreporter.stats.get(name, [])]
    properties = [value for report in reports for key, value in report.user_properties if key == PROPERTY]
    if properties:
        rows = [Row(fault, Counter(counts)) for fault, counts in sorted(properties)]
        terminalreporter.write_line(f"\n{table(rows)}\n")
