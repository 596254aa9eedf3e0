"""Inference works without PyTorch and the other packages of training: imports, engines, commands.

The packages may be installed: in a separate process, an import finder before all others blocks them.
`make test-pythons` runs these tests in environments without PyTorch, on every Python that is available.
"""

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import soundfile

import samplecnn
from samplecnn import model_files
from samplecnn.extras import EXTRAS, MissingExtra, from_import_error, missing_extra
from samplecnn.inference.precision import random_model
from samplecnn.interop.keras import h5
from samplecnn.models.config import ModelConfig
from samplecnn.task import Task

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "samplecnn"
BLOCKED = ("torch", "sklearn", "scipy", "matplotlib", "tensorboard", "numba")
BLOCK = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
"""

# Modules and packages that may import torch at module level.
NEED_TORCH = (
    "models.initialization", "models.layers", "models.samplecnn", "models.blocks", "models.stages", "models.stem_tail",
    "hear", "kernels", "training", "evaluation", "analysis", "bench", "walkthrough",
    "inference.torch_engine", "inference.torch_operations", "inference.overlap", "inference.passes",
    "inference.fused_blocks", "inference.fused_engine", "inference.amx_kernels",
    "interop.third_party.checkpoint", "interop.third_party.clmr", "interop.third_party.sota",
    "interop.third_party.weights", "interop.torch_program",
)  # fmt: skip
# Where functions may import it, for what only PyTorch can do: devices other than the CPU, modules, its threads.
MAY_ASK_FOR_TORCH = ("hardware", "processes", "models.stored", "inference.registry", "model_files")


def slow(*values):
    """The values of a test that is not repeated on other versions of Python."""
    return pytest.param(*values, marks=pytest.mark.slow)


def belongs(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
FREE = [name for name in MODULES if not belongs(name, NEED_TORCH)]


def torch_imports(nodes, late: bool = False):
    """(line, whether inside a function) of every import of torch that can run."""
    for node in nodes:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from torch_imports(node.orelse, late)
            continue
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if any(name.partition(".")[0] == "torch" for name in names):
            yield node.lineno, late
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from torch_imports(ast.iter_child_nodes(node), late or inside)


@pytest.mark.slow
def test_torch_is_imported_only_where_it_computes():
    wrong = []
    for name in FREE:
        for line, late in torch_imports([ast.parse(MODULES[name].read_text(encoding="utf-8"))]):
            if not (late and belongs(name, MAY_ASK_FOR_TORCH)):
                wrong.append(f"{MODULES[name]}:{line}")
    assert not wrong, "torch is imported here:\n" + "\n".join(wrong)


def test_the_search_for_torch_imports():
    text = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\nelse:\n    import torch.nn\n"
        "def f():\n    from torch import Tensor\nclass A:\n    import torch\nimport torchless\n"
    )
    assert list(torch_imports([ast.parse(text)])) == [(5, False), (7, True), (9, False)]


def without_torch(program: str, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCK + program, *map(str, words)], capture_output=True, text=True, timeout=240
    )


def command(*words: object) -> subprocess.CompletedProcess[str]:
    return without_torch("from samplecnn.cli.app import main; main()", *words)


def test_every_module_imports_without_torch():
    """In one process: the order does not matter, as no modules import each other in a circle (test_layout.py)."""
    modules = [f"samplecnn.{name}".rstrip(".") for name in FREE if name.rpartition(".")[2] != "__main__"]
    program = (
        "import importlib, traceback\nfailed = 0\nfor name in sys.argv[1:]:\n    try:\n"
        "        importlib.import_module(name)\n    except ImportError:\n        failed = 1\n"
        "        traceback.print_exc()\nsys.exit(failed)"
    )
    done = without_torch(program, *modules)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    """A random model as a run directory, a .safetensors and an .h5 of the original."""
    folder = tmp_path_factory.mktemp("models")
    task = Task("t", ("low", "middle", "high"), "multilabel", sample_rate=8000, window=2187, mean=0.01, std=0.2)
    model = random_model(ModelConfig(block="rese2", multi=True, num_blocks=6, num_classes=3, features=16), task)
    model_files.save(model, folder / "run")
    h5.write(model, folder / "model.h5")
    return {
        "run directory": folder / "run",
        ".safetensors": folder / "run" / model_files.WEIGHTS,
        ".h5": folder / "model.h5",
    }


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    folder, random = tmp_path_factory.mktemp("recordings"), np.random.default_rng(0)
    for name, seconds in (("a.wav", 1.5), ("b.flac", 0.7), ("c.ogg", 2.0)):
        soundfile.write(folder / name, 0.1 * random.normal(size=round(seconds * 8000)), 8000)
    return folder


def tags(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, float]]:
    assert done.returncode == 0, done.stderr
    return {Path(row["path"]).name: row["tags"] for row in map(json.loads, done.stdout.splitlines())}


@pytest.fixture(scope="module")
def wanted_tags(models, recordings):
    """Of the recordings, by NumPy in float32."""
    return tags(
        command("tag", models["run directory"], recordings, "--format", "jsonl", "--engine", "numpy",
                "--precision", "fp32")
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["run directory", slow(".safetensors"), slow(".h5")])
@pytest.mark.parametrize("engine", ["numpy", "openvino", "onnx"])
def test_every_engine_tags_without_torch(models, recordings, wanted_tags, engine, kind):
    """A folder, by each kind of model."""
    for module in {"openvino": ["openvino"], "onnx": ["onnx", "onnxruntime"]}.get(engine, []):
        pytest.importorskip(module)
    words = ("tag", models[kind], recordings, "--format", "jsonl", "--engine", engine, "--precision", "fp32")
    done = command(*words)
    found = tags(done)
    assert done.stderr.startswith(f"engine {engine}, fp32\n")
    assert sorted(found) == ["a.wav", "b.flac", "c.ogg"] and len({tuple(row.values()) for row in found.values()}) == 3
    for name, wanted in wanted_tags.items():
        assert found[name] == pytest.approx(wanted, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-5), ("bf16", 0.02)])
def test_a_file_has_the_same_scores_alone_and_among_many(models, recordings, monkeypatch, precision, bound):
    """Engines follow the number of segments, the precision does not; bf16 differs by its rounding."""
    monkeypatch.setenv("SAMPLECNN_AUTO_PRECISION", precision)
    many = [recordings / "a.wav"] * 150 + [recordings / "c.ogg"]
    alone = command("tag", models[".h5"], recordings / "a.wav", "--format", "jsonl")
    among = command("tag", models[".h5"], *many, "--format", "jsonl")
    assert alone.stderr.split()[2] == among.stderr.split()[2]
    assert tags(alone)["a.wav"] == pytest.approx(tags(among)["a.wav"], abs=bound)


def test_overlapping_windows_without_torch(models, recordings):
    words = ("tag", models["run directory"], recordings / "a.wav", "--format", "jsonl", "--over-time", "--hop", "0.1")
    done = command(*words, "--precision", "fp32")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["over_time"]) > 10


def test_models_are_converted_and_exported_without_torch(models, recordings, tmp_path):
    assert command("convert", models[".h5"], tmp_path / "run").returncode == 0
    assert command("export", tmp_path / "run", tmp_path / "m.h5", "--to", "keras-h5").returncode == 0
    before, after = (model_files.load_stored(path).values for path in (models["run directory"], tmp_path / "m.h5"))
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)


def test_data_sets_are_built_without_torch(recordings, tmp_path):
    for kind in ("noise", "hiss"):
        for number in range(6):
            path = tmp_path / "sounds" / kind / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, 0.1 * np.random.default_rng(number).normal(size=8000), 8000)
    done = command("build", tmp_path / "sounds", "--data-dir", tmp_path / "data", "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "data").rglob("*.arrow"))


@pytest.mark.parametrize(
    ("words", "who"),
    [
        (("train", "demo"), "samplecnn train"),
        slow(("eval", "demo", "{model}"), "samplecnn eval"),
        slow(("demo",), "samplecnn demo"),
        slow(("bench", "infer"), "samplecnn bench"),
        slow(("analyze", "{model}", "summary"), "samplecnn analyze summary"),
        slow(("analyze", "{model}", "filters"), "samplecnn analyze filters"),
        slow(("analyze", "{model}", "excitations", "demo"), "samplecnn analyze excitations"),
        slow(("analyze", "{model}", "explain", "{sound}"), "samplecnn analyze explain"),
        slow(("analyze", "{model}", "report", "demo"), "samplecnn analyze report"),
        (("tag", "{model}", "{sound}", "--engine", "torch"), "engine torch"),
        slow(("tag", "{model}", "{sound}", "--device", "cuda"), "device cuda"),
        slow(("convert", "{checkpoint}", "out"), "samplecnn convert {checkpoint}"),
    ],
)
def test_a_missing_extra_is_named_with_its_pip_command(models, recordings, tmp_path, monkeypatch, words, who):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.pt").write_bytes(b"PK")
    places = {"model": models["run directory"], "sound": recordings / "a.wav", "checkpoint": tmp_path / "x.pt"}
    done = command(*(word.format(**places) for word in words))
    line = f"error: {who.format(**places)} needs PyTorch: pip install 'samplecnn[train]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.pt"], "nothing is left behind"


def test_help_lists_every_command_without_torch():
    done = command("--help")
    assert done.returncode == 0 and all(f"\n  {verb} " in done.stdout for verb in ("tag", "build", "train", "eval"))


@pytest.mark.parametrize("name", ["load", "train", "SampleCNN"])
def test_python_names_that_need_an_extra_name_it(models, name):
    """As a UsageError, for programs like the command line, and as an ImportError, for those that try an import."""
    program = (
        "import samplecnn\nfrom samplecnn.errors import UsageError\n"
        "try:\n    found = getattr(samplecnn, sys.argv[1])\n    found(sys.argv[2])\n"
        "except UsageError as error:\n    assert isinstance(error, ImportError)\n    print(error)\n"
    )
    done = without_torch(program, name, models["run directory"])
    assert done.stdout == f"samplecnn.{name} needs PyTorch: pip install 'samplecnn[train]'\n", done.stderr


def test_extras_are_those_of_the_package():
    """The modules named in messages are those that pip installs for each extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    packages = {
        "sklearn": "scikit-learn",
        "python_multipart": "python-multipart",
        "prometheus_client": "prometheus-client",
        "paho": "paho-mqtt",
    }
    used_where_installed = {"zeroconf"}
    for extra, modules in EXTRAS.items():
        listed = {line.partition(">")[0] for line in project["optional-dependencies"][extra]} - used_where_installed
        assert listed == {packages.get(module, module) for module in modules}
    base = {line.partition(">")[0] for line in project["dependencies"]}
    assert base == {
        "numpy", "soundfile", "soxr", "safetensors", "h5py", "pyarrow", "typer", "rich", "crc32c", "threadpoolctl",
    }  # fmt: skip
    assert project["optional-dependencies"]["all"] == [f"samplecnn[{','.join(EXTRAS)}]"]


def test_an_import_that_fails_for_another_reason_keeps_its_error():
    assert isinstance(missing_extra("x", "torch"), MissingExtra)
    for name in ("no_such_module", "numpy"):  # of no extra; installed, so that it failed for another reason
        with pytest.raises(ModuleNotFoundError, match=name):
            from_import_error("x", ModuleNotFoundError(name, name=name))
    assert samplecnn.__version__
