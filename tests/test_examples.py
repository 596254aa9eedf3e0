"""Every program in examples/ runs, on generated recordings and a small model."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
MODEL = "log/20261122_101500-sounds-se_multi"


@pytest.fixture
def run(workspace, tmp_path):
    """run(name, *arguments) -> what the program printed; it works in a copy of the workspace, `run.folder`."""
    folder = tmp_path / "work"
    shutil.copytree(workspace, folder)

    def program(name: str, *arguments: str) -> str:
        command = [sys.executable, str(ROOT / "examples" / f"{name}.py"), *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    program.folder = folder
    return program


def test_tag_folder(run):
    run("tag_folder", MODEL, "sounds", "tags.csv")
    with (run.folder / "tags.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 120
    best = rows[::3]
    right = sum(Path(row["path"]).parent.name == row["tag"] for row in best)
    assert right > 0.8 * len(best)


def test_find_moments(run):
    import numpy as np
    import soundfile

    hum, rate = soundfile.read(run.folder / "hum.wav")
    noise = 0.3 * np.random.default_rng(0).standard_normal(rate)
    soundfile.write(run.folder / "mixed.wav", np.concatenate([noise, hum[:rate], noise]), rate)
    lines = run("find_moments", MODEL, "mixed.wav", "hum").splitlines()
    longest = max(lines, key=lambda line: float(line.split()[2]) - float(line.split()[0]))
    start, _, end, *_ = longest.split()
    assert 0.8 < float(start) < 1.2 and 1.8 < float(end) < 2.2, lines


def test_train_own_sounds(run):
    shutil.rmtree(run.folder / "data")
    lines = run("train_own_sounds", "sounds", "hum.wav").splitlines()
    assert lines[0] == "{'train': 96, 'val': 12, 'test': 12}" and lines[-1].startswith("hum.wav: ")
    assert any("on 12 test clips" in line for line in lines)


def test_custom_training_loop(run, workspace):
    source = str(workspace / "sounds")  # the source of the copy's data/
    lines = run("custom_training_loop", source, "own-model").splitlines()
    losses = [float(line.split()[-1]) for line in lines if line.startswith("step")]
    assert len(losses) == 3 and losses[-1] < losses[0]
    rows = run("tag_folder", "own-model", "sounds", "own.csv")
    assert rows == "" and (run.folder / "own.csv").exists()


def test_onnx_runner(tmp_path):
    """It gives the tags of `samplecnn tag`, in an interpreter that cannot import samplecnn."""
    pytest.importorskip("onnxruntime")
    from samplecnn import Tagger
    from samplecnn.interop.export import export
    from samplecnn.model_files import load_stored

    export(load_stored("words"), tmp_path / "words.onnx", "onnx")
    noise = 0.1 * np.random.default_rng(0).standard_normal(32_000)
    soundfile.write(tmp_path / "noise.wav", noise, 16_000)
    blocked = (
        "import sys, runpy; sys.modules['samplecnn'] = None; sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-c", blocked, str(ROOT / "examples" / "onnx_runner.py")]
    files = [str(tmp_path / "words.onnx"), str(tmp_path / "noise.wav")]
    home = tmp_path / "home"
    home.mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    done = subprocess.run([*command, *files], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert list(home.iterdir()) == []  # ONNX Runtime stores no usage data
    tags = Tagger("words", engine="numpy")(str(tmp_path / "noise.wav")).top(5)
    assert [line.split()[1] for line in done.stdout.splitlines()] == [name for name, _ in tags]
    soundfile.write(tmp_path / "noise.wav", noise, 8_000)
    done = subprocess.run([*command, *files], capture_output=True, text=True)
    assert done.returncode == 1 and "16 bits at 16000 Hz" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_each_is_short_explained_and_tested(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 60 and f"python {path.name} " in text
    assert f"def test_{path.stem}(" in Path(__file__).read_text(encoding="utf-8")
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and f"python {path.name}" in done.stderr
