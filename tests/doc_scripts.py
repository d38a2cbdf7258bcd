"""The scripts of a page of docs/, as readers would run them."""

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"


def scripts(page: str, mark: str) -> list[str]:
    """The Python blocks of a page below the comment `<!-- scripts: MARK -->`, up to the next heading."""
    _, _, rest = (DOCS / page).read_text().partition(f"<!-- scripts: {mark} -->")
    section = re.split(r"^## ", rest, maxsplit=1, flags=re.MULTILINE)[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)
