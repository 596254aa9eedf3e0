"""The layout of the source: which room may import which, no import cycles, no long modules.

Data flows in one direction, from recordings to a running model, and imports follow it: a room may import the rooms
before it in ROOMS, never those behind it. Imports inside functions count like any other; those under TYPE_CHECKING do
not, because they never run.
"""

import ast
import graphlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "src" / "samplecnn"

# In the order in which they may import: each one only those above it. The longest prefix of a module's name decides.
ROOMS = (
    "errors",
    "task",
    "extras",
    "system",
    "hardware",
    "containers",
    "truncation",
    "recordings",
    "sound",
    "sound_file",
    "mixing",
    "audio",
    "mel",
    "datasets",
    "shards",
    "kernels",
    "models",
    "interop.folding",
    "interop.keras",  # before model_files, which opens an .h5 like any other model
    "model_files",
    "interop",
    "inference",
    "evaluation",  # before training, whose stages end with the scores of the test set
    "training",
    "tagging",
    "analysis",
    "walkthrough",
    "info",
    "bench",
    "cli",
    "__main__",
)

MAX_LINES = 300
# Modules that are longer, and why.
LONG = {}


def module_name(path: Path) -> str:
    """The dotted name below the package: "" for the package itself, "cli.app" for cli/app.py."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(name: str) -> Iterator[str]:
    """The modules of the package that a module imports anywhere in its code, except under TYPE_CHECKING."""
    yield from _imports([ast.parse(MODULES[name].read_text(encoding="utf-8"))])


def _imports(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from _imports(node.orelse)
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            yield from (found for found in map(_inside, names) if found is not None)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import; write the module's full name"
            base = _inside(node.module or "")
            for alias in node.names if base is not None else ():
                full = f"{base}.{alias.name}".lstrip(".")
                if full in MODULES:
                    yield full
                elif base or alias.name != "__version__":  # the version is the one thing the package itself provides
                    yield base or ""
        else:
            yield from _imports(ast.iter_child_nodes(node))


def _inside(name: str) -> str | None:
    """The name below the package, None for a module of somebody else."""
    head, _, rest = name.partition(".")
    return rest if head == PACKAGE.name else None


def room_of(name: str) -> str:
    fitting = [room for room in ROOMS if name == room or name.startswith(f"{room}.")]
    assert fitting, f"{name} belongs to no room; add its room to ROOMS, at its place in the flow"
    return max(fitting, key=len)


GRAPH = {name: set(imports_of(name)) - {name} for name in MODULES}


def test_every_room_exists_and_every_module_has_one():
    for room in ROOMS:
        assert room in MODULES, room
    for name in MODULES:
        assert name == "" or room_of(name)


@pytest.mark.parametrize("room", ROOMS)
def test_imports_follow_the_flow(room):
    backward = []
    for name in GRAPH:
        if name and room_of(name) == room:
            for target in GRAPH[name]:
                assert target, f"{name} imports from the package itself; import from the module that defines it"
                if ROOMS.index(room_of(target)) > ROOMS.index(room):
                    backward.append(f"{name} imports {target}, which comes later in the flow")
    assert not backward, "\n".join(backward)


def test_no_import_cycles_between_files():
    try:
        list(graphlib.TopologicalSorter(GRAPH).static_order())
    except graphlib.CycleError as error:
        pytest.fail("import cycle: " + " -> ".join(error.args[1]))


def test_modules_are_short():
    lengths = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in MODULES.values()}
    long = {name: length for name, length in lengths.items() if length > MAX_LINES}
    assert not long, f"longer than {MAX_LINES} lines: {long}"


def test_the_check_finds_what_it_should(tmp_path, monkeypatch):
    """The parser sees late imports and names, and not those for type checkers."""
    file = tmp_path / "one.py"
    file.write_text(
        "from typing import TYPE_CHECKING\nimport samplecnn.audio\nfrom samplecnn import errors, __version__\n"
        "if TYPE_CHECKING:\n    from samplecnn import bench\nelse:\n    import samplecnn.task\n"
        "def late():\n    from samplecnn.cli.app import main\n    import numpy\n"
    )
    monkeypatch.setitem(MODULES, "one", file)
    assert list(imports_of("one")) == ["audio", "errors", "task", "cli.app"]
