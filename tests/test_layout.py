"""The layout of the source: which package may import which, no import cycles, no long modules.

Data flows in one direction, from recordings to a running model, and imports follow it: a package (or top-level module)
may import only those before it in LAYERS. Imports inside functions count like any other; those under TYPE_CHECKING do
not, because they never run.
"""

import ast
import graphlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "src" / "samplecnn"

# Each one may import only those above it. A module belongs to the entry that is the longest prefix of its name.
LAYERS = (
    "errors",
    "parsing",
    "task",
    "extras",
    "system",
    "hardware",
    "processes",
    "containers",
    "truncation",
    "recordings",
    "sound",
    "av_sound",
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
    "interop.hub.cache",  # before model_files, which opens models of the hub by their ids
    "zoo.packaged",  # before model_files, which opens packaged models by their names
    "model_files",
    "inference",
    "interop",  # after inference, whose nodes are written to ONNX
    "zoo",
    "evaluation",  # before training, which evaluates the test set after each stage
    "training",
    "tagging",
    "interop.hub",  # after zoo, whose cards it uses, and tagging, whose hash of a model
    "ray",
    "file_tags",
    "index",
    "listening",
    "serving",
    "hear",
    "analysis",
    "comparison",  # behind analysis, whose summary counts what a network takes
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


def _parsed(text: str) -> ast.Module:
    """The syntax tree; again if another thread parses at the same time, where CPython 3.11 may raise SystemError."""
    for _ in range(20):
        try:
            return ast.parse(text)
        except SystemError:
            time.sleep(0.1)
    return ast.parse(text)


def imports_of(name: str) -> Iterator[str]:
    """The modules of the package that a module imports anywhere in its code, except under TYPE_CHECKING."""
    yield from _imports([_parsed(MODULES[name].read_text(encoding="utf-8"))])


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
    """The name below the package; None for a module outside it."""
    head, _, rest = name.partition(".")
    return rest if head == PACKAGE.name else None


def layer_of(name: str) -> str:
    matching = [layer for layer in LAYERS if name == layer or name.startswith(f"{layer}.")]
    assert matching, f"{name} is in no layer; add its package to LAYERS, at its position in the flow"
    return max(matching, key=len)


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    """For each module the others that it imports."""
    return {name: set(imports_of(name)) - {name} for name in MODULES}


def test_every_layer_exists_and_every_module_has_one():
    for layer in LAYERS:
        assert layer in MODULES, layer
    for name in MODULES:
        assert name == "" or layer_of(name)


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_follow_the_flow(graph, layer):
    backward = []
    for name in graph:
        if name and layer_of(name) == layer:
            for target in graph[name]:
                assert target, f"{name} imports from the package itself; import from the module that defines it"
                if LAYERS.index(layer_of(target)) > LAYERS.index(layer):
                    backward.append(f"{name} imports {target}, which comes later in the flow")
    assert not backward, "\n".join(backward)


def test_no_import_cycles_between_files(graph):
    try:
        list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        pytest.fail("import cycle: " + " -> ".join(error.args[1]))


def test_modules_are_short():
    lengths = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in MODULES.values()}
    long = {name: length for name, length in lengths.items() if length > MAX_LINES}
    assert not long, f"longer than {MAX_LINES} lines: {long}"


def test_the_import_parser(tmp_path, monkeypatch):
    """It finds imports inside functions and imported names, but not imports for type checkers."""
    file = tmp_path / "one.py"
    file.write_text(
        "from typing import TYPE_CHECKING\nimport samplecnn.audio\nfrom samplecnn import errors, __version__\n"
        "if TYPE_CHECKING:\n    from samplecnn import bench\nelse:\n    import samplecnn.task\n"
        "def late():\n    from samplecnn.cli.app import main\n    import numpy\n"
    )
    monkeypatch.setitem(MODULES, "one", file)
    assert list(imports_of("one")) == ["audio", "errors", "task", "cli.app"]
