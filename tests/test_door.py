"""One door to the disk: nothing else renames, replaces or removes, and nothing writes to a final name.

A call that writes gets a path of a private folder (from `whole_file` and its like, or a temporary folder), or stands in
`WRITERS` with the reason why it may.
"""

import ast
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from source_trees import tree_of

ROOT = Path(__file__).resolve().parents[1]
DOOR = "latentsync/disk.py"
ROOMS = ("latentsync", "experiments")

CHANGES_NAMES = {
    "os": {"link", "remove", "removedirs", "rename", "renames", "replace", "rmdir", "symlink", "truncate", "unlink"},
    "shutil": {"move", "rmtree"},
}  # fmt: skip
PATH_CHANGES_NAMES = {"hardlink_to", "rename", "replace", "rmdir", "symlink_to", "touch", "unlink"}
WRITES = {
    "os": {"fdopen", "open"},
    "shutil": {"copy", "copy2", "copyfile", "copytree", "copymode", "copystat"},
    "cv2": {"VideoWriter", "imwrite"},
    "torch": {"save"},
    "np": {"save", "savetxt", "savez", "savez_compressed"},
    "json": {"dump"},
    "pickle": {"dump"},
}
SECOND_ARGUMENT = {"shutil", "torch", "json", "pickle", None}  # in which the path is the second argument
MODULES_THAT_OPEN = {None, "Image", "av", "codecs", "gzip", "io", "tarfile", "wave", "zipfile"}
PATH_WRITES = {
    "save_config", "save_pretrained", "savefig", "to_csv", "to_excel", "to_feather", "to_html", "to_json", "to_parquet",
    "to_pickle", "tofile", "write_bytes", "write_html", "write_image", "write_text",
}  # fmt: skip
PRIVATE = {"TemporaryDirectory", "private", "private_folder", "whole_file", "whole_files", "whole_folder"}
IN_MEMORY = {"BytesIO", "StringIO"}

NO_PATHS = {  # calls of the same names that touch no file
    ("latentsync/lab/analysis/conclusions.py", "rename"): "pandas",
    ("latentsync/lab/analysis/units.py", "rename"): "pandas",
}
WRITERS = {
    ("latentsync/checkpoints/model.py", "save_network"): "its callers give a folder of `whole_folder`",
    ("latentsync/journal.py", "_opened"): "appends lines, and a line that was cut is ended before the next",
    ("latentsync/lab/measuring/sets.py", "write_faces"): "its caller gives a temporary folder",
    (
        "latentsync/lab/records/store.py",
        "_write_claim",
    ): "a file that is locked must stay the same; people read it only",
    ("latentsync/lab/jobs/exchange.py", "_copy"): "its callers give a part of `whole_file`, or a folder of `new`",
    ("latentsync/lab/training/assemble.py", "_copy_shared"): "its caller gives a folder of `whole_folder`",
    ("latentsync/lab/jobs/benchmark/work.py", "_clear_peak"): "a switch of the kernel below /proc, which is no file",
    ("latentsync/lab/analysis/votes.py", "append_vote"): "appends a line, and a reader leaves out one that is cut",
    ("latentsync/media/writer.py", "__enter__"): "opens the part of `whole_file` by hand",
    ("latentsync/scratch.py", "_locked_part"): "the lock of a private folder",
    ("latentsync/scratch.py", "_remove_abandoned"): "the lock of a private folder",
    ("latentsync/training/journal.py", "write"): "appends a line, and a reader leaves out one that is cut",
    ("latentsync/training/sound.py", "spooled_sound"): "its caller gives a private folder",
    ("latentsync/training/syncnet.py", "export"): "the loop gives a folder of `whole_folder`",
    ("latentsync/weights/carriers.py", "_save"): "its caller gives a temporary folder",
    ("latentsync/weights/hub.py", "_append"): "a partial download has a name of its own, so that it can go on later",
}


def name_of(node: ast.expr) -> tuple[str | None, str]:
    """The module and the name of what is called: ("os", "replace"), (None, "open"), ("", "unlink") for a method."""
    if isinstance(node, ast.Name):
        return None, node.id
    if isinstance(node, ast.Attribute):
        return (node.value.id if isinstance(node.value, ast.Name) else ""), node.attr
    return "", ""


def roots(node: ast.expr) -> set[str]:
    """The variables that a path is made of: `part` of `str(part / name)`."""
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)} | {ast.unparse(node)}


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Every function with its name, and the module itself."""
    yield "", tree
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node


def own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function, but not those of the functions in it; lambdas belong to it."""
    for child in ast.iter_child_nodes(function):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
            yield from own_nodes(child)
        else:
            for decorator in child.decorator_list:
                yield decorator
                yield from own_nodes(decorator)


def private_names(function: ast.AST) -> set[str]:
    """Variables of a function that hold unfinished files, temporary folders or memory, and what is made of them."""
    names = {"os.devnull", "part"}  # by custom a parameter called `part` is such a file
    nodes = list(own_nodes(function))
    for node in nodes:
        if isinstance(node, ast.With):
            for item in node.items:
                if isinstance(item.context_expr, ast.Call) and name_of(item.context_expr.func)[1] in PRIVATE:
                    names |= roots(item.optional_vars) if item.optional_vars is not None else set()
        is_made = isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        if is_made and name_of(node.value.func)[1] in IN_MEMORY:
            names |= {name for target in node.targets for name in roots(target)}
    for node in nodes:
        if isinstance(node, ast.Assign) and roots(node.value) & names:
            names |= {name for target in node.targets for name in roots(target)}
    return names


def mode_of(call: ast.Call, position: int) -> str:
    given = [word.value for word in call.keywords if word.arg == "mode"] + call.args[position : position + 1]
    if not given:
        return "r"
    return str(given[0].value) if isinstance(given[0], ast.Constant) else "w"  # one that is computed may write


def written_path(call: ast.Call) -> ast.expr | None:
    """The path that a call writes to; None if it writes nothing."""
    module, name = name_of(call.func)
    if ast.unparse(call.func).startswith("disk.system."):
        return None
    if name == "open" and module != "os":
        is_method = module not in MODULES_THAT_OPEN
        if not set(mode_of(call, 0 if is_method else 1)) & set("wax+"):
            return None
        return call.func.value if is_method else call.args[0]
    if (module in WRITES and name in WRITES[module]) or (module is None and name == "save_file"):
        if module == "os" and "O_WRONLY" not in ast.dump(call) and "O_RDWR" not in ast.dump(call):
            return None
        return call.args[1 if module in SECOND_ARGUMENT else 0]
    if module is not None and name in PATH_WRITES and module != "disk":
        return call.func.value if name in ("write_bytes", "write_text") else call.args[0] if call.args else None
    if module == "" or module is None or name != "save":
        return None
    return call.args[0] if call.args and module not in ("checkpoint",) else None  # Image.save


def changes_a_name(call: ast.Call) -> bool:
    module, name = name_of(call.func)
    if ast.unparse(call.func).startswith("disk.system."):
        return False
    if module in CHANGES_NAMES:
        return name in CHANGES_NAMES[module]
    if module is None or name not in PATH_CHANGES_NAMES:
        return False
    if name in ("rename", "replace"):  # text has a `replace` of two arguments, tables a `rename` by keyword
        return len(call.args) == 1 and not call.keywords
    return True


def wrong_calls(file: str, source: str) -> list[str]:
    """The calls of a module that only the door may make."""
    wrong = []
    for function, node in functions(tree_of(source)):
        private = private_names(node)
        for call in own_nodes(node):
            if not isinstance(call, ast.Call):
                continue
            name = name_of(call.func)[1]
            if changes_a_name(call) and (file, name) not in NO_PATHS:
                wrong.append(f"{file}:{call.lineno}: {name}() changes a name; use latentsync.files")
            target = written_path(call)
            if target is not None and not roots(target) & private and (file, function) not in WRITERS:
                wrong.append(
                    f"{file}:{call.lineno}: {function}() writes to {ast.unparse(target)}; use latentsync.files"
                )
    return wrong


def test_only_the_door_changes_names_and_writes():
    files = {str(path.relative_to(ROOT)): path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))}
    assert DOOR in files
    wrong = [wrong_calls(file, path.read_text(encoding="utf-8")) for file, path in files.items() if file != DOOR]
    assert list(chain(*wrong)) == []


def test_each_exception_is_needed():
    for file, function in WRITERS:
        found = dict(functions(tree_of((ROOT / file).read_text(encoding="utf-8"))))
        assert any(isinstance(call, ast.Call) and written_path(call) is not None for call in own_nodes(found[function]))


@pytest.mark.parametrize(
    "line",
    [
        "os.replace(a, b)", "path.unlink(missing_ok=True)", "path.rename(other)", "shutil.rmtree(path)", "a.replace(b)",
        "open(path, 'w')", "path.open('a')", "open(path, mode)", "path.write_text('a')", "(a / b).write_bytes(data)",
        "shutil.copyfile(a, b)", "figure.savefig(path)", "table.to_csv(path)", "path.touch()",
        "av.open(str(path), 'w')",
        "save_file(tensors, path)", "torch.save(state, path)", "image.save(path)", "np.save(path, array)",
        "cv2.imwrite(str(path), array)", "wave.open(str(path), 'wb')", "link.symlink_to(path)", "os.open(a, os.O_RDWR)",
    ],
)  # fmt: skip
def test_a_call_that_writes_is_seen(line):
    assert len(wrong_calls("x.py", f"def f():\n    {line}\n")) == 1
    inside = (
        line.replace("path", "part").replace("(b)", "(part)").replace("(a, b)", "(a, part)").replace("(a /", "(part /")
    )
    is_write = not changes_a_name(ast.parse(line, mode="eval").body)
    with_door = f"def f():\n    with whole_file(path) as part:\n        {inside.replace('open(a', 'open(part')}\n"
    assert len(wrong_calls("x.py", with_door)) == (0 if is_write else 1)


@pytest.mark.parametrize(
    "line",
    ["text.replace('a', 'b')", "open(path)", "open(path, 'rb')", "av.open(str(path))", "table.rename(columns=names)"],
)
def test_a_call_that_reads_is_not_taken_for_one(line):
    assert wrong_calls("x.py", line) == []
