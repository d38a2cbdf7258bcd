"""Every state that a power cut may leave: what was not forced to the disk may be there, or missing, or in part.

The door's calls are recorded with the content of all files. A state is what the disk holds if the power is cut after
one of the calls and some of what is not durable by then is lost. The content of a file is durable after a `sync` of the
file; a new, changed or removed name after a `sync` of its folder. Names may reach the disk in another order than they
were made in. A rename is on the disk whole or not at all, as journals of file systems guarantee it.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from faults.door import System
from latentsync.disk import PART_PREFIX
from latentsync.scratch import LOCK_FILE

ROOT = 0  # the number of the watched folder; others are numbered as they appear

Tree = dict[str, "Tree | bytes"]


@dataclass(frozen=True)
class Event:
    """Something that reaches the disk sooner or later.

    Attributes:
        kind: "name" (`folder` gets `name` for `item`), "no name", "move", "exchange", "data" or "sync" (of `item`).
        source: of a move, the folder and the name before.
    """

    kind: str
    item: int
    folder: int = -1
    name: str = ""
    data: bytes = b""
    source: tuple[int, str] = (-1, "")
    other: int = -1


class RecordingSystem(System):
    """Records what the door does below a folder."""

    def __init__(self, root: Path, exchanges: bool = True) -> None:
        super().__init__(exchanges)
        self.root, self.events = root, []
        self.items: dict[str, int] = {"": ROOT}  # by path relative to the root
        self.contents: dict[int, bytes | None] = {ROOT: None}  # None: a folder
        self.note()
        self.before, self.events = self.events, []

    def note(self) -> None:
        """Records what has been written since the last call by others than the door."""
        found: dict[str, bytes | None] = {}
        for folder, folders, files in os.walk(self.root):
            found |= {self._key(Path(folder, name)): None for name in folders}
            found |= {
                self._key(Path(folder, name)): Path(folder, name).read_bytes() for name in files if name != LOCK_FILE
            }
        for path in sorted(self.items.keys() - found.keys() - {""}, reverse=True):
            folder, name = self._place(path)
            self.events.append(Event("no name", self.items.pop(path), folder, name))
        for path in sorted(found):
            if path not in self.items:
                folder, name = self._place(path)
                self.items[path] = len(self.contents)
                self.contents[self.items[path]] = None if found[path] is None else b""
                self.events.append(Event("name", self.items[path], folder, name))
            item = self.items[path]
            if found[path] != self.contents[item]:
                self.contents[item] = found[path]
                self.events.append(Event("data", item, data=found[path]))

    def _key(self, path: Path) -> str:
        return str(path.relative_to(self.root))

    def _place(self, path: str) -> tuple[int, str]:
        parent, _, name = path.rpartition("/")
        return self.items[parent], name

    def _moved(self, old: str, new: str) -> None:
        inside = {path: item for path, item in self.items.items() if path == old or path.startswith(f"{old}/")}
        for path in inside:
            del self.items[path]
        for path in [path for path in self.items if path == new or path.startswith(f"{new}/")]:
            del self.items[path]
        self.items |= {new + path[len(old) :]: item for path, item in inside.items()}

    def rename(self, old: Path, new: Path) -> None:
        self._rename(super().rename, old, new)

    def replace(self, old: Path, new: Path) -> None:
        self._rename(super().replace, old, new)

    def _rename(self, operation, old: Path, new: Path) -> None:
        self.note()
        operation(old, new)
        before, after = self._key(old), self._key(new)
        folder, name = self._place(after)
        self.events.append(Event("move", self.items[before], folder, name, source=self._place(before)))
        self._moved(before, after)

    def exchange(self, one: Path, other: Path) -> None:
        self.note()
        super().exchange(one, other)
        first, second = self._key(one), self._key(other)
        folder, name = self._place(second)
        event = Event("exchange", self.items[first], folder, name, b"", self._place(first), self.items[second])
        self.events.append(event)
        self._moved(first, "exchanged")
        self._moved(second, first)
        self._moved("exchanged", second)

    def sync(self, path: Path) -> None:
        self.note()
        super().sync(path)
        if path == self.root or self.root in path.parents:
            self.events.append(Event("sync", self.items[self._key(path)] if path != self.root else ROOT))

    def states(self, deviations: int) -> Iterator[tuple[bool, Tree]]:
        """What the disk may hold, each state once: whether the job had ended, and the files by name.

        Private folders are left out, which no reader looks into.

        Args:
            deviations: how many contents and names may be lost, at most, of those that are not durable.
        """
        self.note()
        seen = set()
        for count in range(len(self.events) + 1):
            done = self.events[:count]
            open_events = [
                i for i, event in enumerate(done) if event.kind != "sync" and not _is_durable(event, done[i:])
            ]
            for number in range(deviations + 1):
                for lost in combinations(open_events, number):
                    for torn in (False, True):
                        tree = self._replayed(done, set(lost), torn)
                        key = count == len(self.events), repr(tree)
                        if key not in seen:
                            seen.add(key)
                            yield key[0], tree
                        if not any(done[i].kind == "data" for i in lost):
                            break

    def _replayed(self, events: list[Event], lost: set[int], is_torn: bool) -> Tree:
        folders: dict[int, dict[str, int]] = {item: {} for item, data in self.contents.items() if data is None}
        data: dict[int, bytes] = {}
        for number, event in [(-1, event) for event in self.before] + list(enumerate(events)):
            if event.kind == "data" and (number not in lost or is_torn):
                data[event.item] = event.data[: len(event.data) // 2] if number in lost else event.data
            if number in lost or event.kind in ("data", "sync"):
                continue
            if event.kind in ("move", "exchange"):
                folder, name = event.source
                if folders[folder].get(name) == event.item:
                    del folders[folder][name]
                if event.kind == "exchange":
                    folders[folder][name] = event.other
            if event.kind == "no name":
                folders[event.folder].pop(event.name, None)
            else:
                folders[event.folder][event.name] = event.item
        return _tree(ROOT, folders, data)


def _is_durable(event: Event, later: list[Event]) -> bool:
    wanted = event.item if event.kind == "data" else event.folder
    return any(one.kind == "sync" and one.item == wanted for one in later)


def _tree(item: int, folders: dict[int, dict[str, int]], data: dict[int, bytes]) -> Tree:
    inside = sorted(folders[item].items())
    return {
        name: _tree(one, folders, data) if one in folders else data.get(one, b"")
        for name, one in inside
        if not name.startswith(PART_PREFIX)
    }


def write_tree(tree: Tree, folder: Path) -> None:
    """Writes a state to a new folder."""
    folder.mkdir()
    for name, content in tree.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            write_tree(content, folder / name)
