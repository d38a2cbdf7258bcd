"""Prints the campaign's tables at the end, also when several processes ran it."""

from collections import Counter
from operator import itemgetter

from faults import campaign, children
from faults.campaign import Row


def pytest_terminal_summary(terminalreporter):
    """Hook of pytest."""
    reports = [report for name in ("passed", "failed") for report in terminalreporter.stats.get(name, [])]
    found = {campaign.FAULT: [], campaign.FILES: [], campaign.NOTE: []}
    for key, value in (each for report in reports for each in report.user_properties):
        found.get(key, []).append(value)
    files: dict[str, Counter] = {}
    for kind, counts in sorted(found[campaign.FILES], key=itemgetter(0)):
        files.setdefault(kind, Counter()).update(counts)
    rows = [Row(fault, Counter(counts)) for fault, counts in sorted(found[campaign.FAULT], key=itemgetter(0))]
    tables = [campaign.table(rows)] * bool(rows) + [children.table(files)] * bool(files)
    for text in (*tables, *sorted(found[campaign.NOTE])):
        terminalreporter.write_line(f"\n{text}")
