"""The output of `explain`: sentences, pictures, tables."""

import csv
import json
import re
import sys

import numpy as np
import pytest
import soundfile
import torch
import typer
from typer.testing import CliRunner

from samplecnn import model_files
from samplecnn.analysis import explain, run_explain
from samplecnn.analysis.explained_window import Settings
from samplecnn.analysis.plots import draw_explanation
from samplecnn.cli.explain import explain_command
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.mel import mel, mel_spectrogram
from samplecnn.models import ModelConfig, SampleCNN
from samplecnn.system.plotting import DARK
from samplecnn.task import Task

RATE, WINDOW = 8000, 2187
PNG, PDF = b"\x89PNG", b"%PDF"


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    torch.manual_seed(0)
    task = Task("few", ("one", "two", "three"), "multilabel", RATE, WINDOW, mean=0.0, std=0.2)
    model = SampleCNN(ModelConfig("se", num_blocks=5, num_classes=3, features=8), task)
    for module in model.modules():
        if hasattr(module, "running_mean"):
            module.UPDATE = 1.0  # the statistics of one batch, so that outputs differ between sounds
    with torch.no_grad():
        model.train()(torch.randn(8, WINDOW))
        model.logit.weight *= 3
    folder = tmp_path_factory.mktemp("explain") / "run"
    model_files.save(model, folder)
    return folder


@pytest.fixture
def clip(tmp_path):
    wave = 0.3 * np.random.default_rng(0).standard_normal(5 * WINDOW).astype(np.float32)
    soundfile.write(tmp_path / "noise.wav", wave, RATE)
    return tmp_path / "noise.wav"


@pytest.fixture
def command(model_folder, clip, monkeypatch, tmp_path):
    """command(options…) -> its result; runs in an empty folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    app = typer.Typer()
    app.command()(explain_command)

    def run(*options):
        few = ("--steps", "3", "--moments", "4", "--bands", "3")
        return CliRunner().invoke(app, [str(model_folder), str(clip), *few, *map(str, options)])

    return run


def test_sentences_picture_and_table(command, model_folder, tmp_path):
    result = command("--table", "rows.csv", "--tag", "two", "--tag", "one", "--windows", "2")
    assert result.exit_code == 0, result.output
    assert (model_folder / "analysis" / "explain-noise.png").read_bytes()[:4] == PNG
    lines = [line for line in result.stdout.splitlines() if re.match(r"(one|two): 0\.\d{3}", line)]
    assert [line.split(":")[0] for line in lines] == ["two", "one"]
    rows = list(csv.DictReader((tmp_path / "here" / "rows.csv").open()))
    assert {row["tag"] for row in rows} == {"one", "two"}
    assert len(rows) == 2 * 2 * (4 + 4 + 3 + 3 + 4 * 3)  # windows, tags; moments and bands, two methods each; the map
    numbers = [{key: float(row[key]) for key in ("start", "end", "low", "high", "logit", "score")} for row in rows]
    assert all(row["start"] < row["end"] and row["low"] < row["high"] for row in numbers)


def test_the_table_adds_up_in_every_format(command, model_folder, clip, tmp_path):
    from pyarrow import parquet

    here = tmp_path / "here"
    for name in ("t.csv", "t.parquet", "t.json"):
        assert command("--table", name, "--windows", "1", "--tag", "one", "--picture", "p.svg").exit_code == 0
    of_csv = list(csv.DictReader((here / "t.csv").open()))
    of_parquet = parquet.read_table(here / "t.parquet").to_pylist()
    of_json = json.loads((here / "t.json").read_text())
    assert len(of_csv) == len(of_parquet) == len(of_json) > 0
    for one, two, three in zip(of_csv, of_parquet, of_json, strict=True):
        assert float(one["logit"]) == pytest.approx(two["logit"], rel=1e-5) == pytest.approx(three["logit"], rel=1e-5)
        assert one["method"] == two["method"] == three["method"]
    [window] = explain(model_folder, clip, tags=["one"], max_windows=1, settings=Settings(3, 4, 3)).windows
    gradients = [row for row in of_parquet if row["method"] == "integrated gradients"]
    moments = [row for row in gradients if row["high"] - row["low"] == RATE / 2 and row["end"] - row["start"] < 0.2]
    parts = [row for row in gradients if row["high"] - row["low"] < RATE / 2 and row["end"] - row["start"] < 0.2]
    total = float(window.attribution.sum())
    assert sum(row["logit"] for row in moments) == pytest.approx(total, rel=1e-3)
    assert sum(row["logit"] for row in parts) == pytest.approx(total, rel=1e-3)
    assert of_parquet[0]["window"] == int(window.start * RATE) // WINDOW
    assert (here / "p.svg").read_text().lstrip().startswith("<?xml")


def test_every_window_gets_its_page(command, tmp_path):
    here = tmp_path / "here"
    assert command("--over-time", "--windows", "3", "--top", "1", "--output", "all").exit_code == 0
    assert sorted(path.name for path in (here / "all").iterdir()) == [f"explain-noise-00{n}.png" for n in (1, 2)]
    assert (
        command("--over-time", "--windows", "2", "--top", "1", "--picture", "all.pdf", "--table", "a.json").exit_code
        == 0
    )
    pdf = (here / "all.pdf").read_bytes()
    assert pdf[:4] == PDF and len(re.findall(rb"/Type /Page\b", pdf)) == 3
    assert {row["window"] for row in json.loads((here / "a.json").read_text())} == {0, 1, 2, 3, 4}


def test_options_have_an_effect(command, tmp_path):
    here = tmp_path / "here"
    tables = []
    for number, option in enumerate((("--steps", "3"), ("--steps", "9"), ("--bands", "5"), ("--moments", "7"))):
        assert command("--table", f"{number}.json", "--windows", "1", "--top", "1", *option).exit_code == 0
        tables.append(json.loads((here / f"{number}.json").read_text()))
    counts = [len(table) for table in tables]
    assert counts[0] == counts[1] == 8 + 6 + 12 and counts[2] == 8 + 10 + 20 and counts[3] == 14 + 6 + 21
    assert tables[0][0]["logit"] != tables[1][0]["logit"]
    names = [len({row["tag"] for row in tables[0]})]
    assert command("--table", "top.json", "--top", "3").exit_code == 0
    assert names == [1] and len({row["tag"] for row in json.loads((here / "top.json").read_text())}) == 3


@pytest.mark.parametrize(
    "options, message",
    [
        ({"picture": "x.gif"}, "x.gif: a picture ends in .png, .svg, .pdf"),
        ({"table": "x.xlsx"}, "x.xlsx: a table ends in .csv, .parquet, .json"),
        ({"tags": ["tow"]}, r"no tag 'tow'; did you mean two"),
        ({"picture": "file/x.png"}, "file/x.png: cannot be written"),
        ({"output": "file"}, "file: cannot be written"),
        ({"table": "file/x.csv"}, "file/x.csv: cannot be written"),
        ({"picture": "folder.png"}, "folder.png is a folder"),
        ({"model": "nowhere"}, "nowhere: there is no such model"),
        ({"clip": "nothing.wav"}, "nothing.wav: no such file"),
    ],
)
def test_wrong_use_is_one_line_without_output_files(model_folder, clip, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.png").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises((UsageError, SampleCNNError), match=message) as raised:
        run_explain.run_explain(**{"model": str(model_folder), "clip": str(clip), **options})
    assert "\n" not in str(raised.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_interrupted_run_leaves_no_file(model_folder, clip, tmp_path, monkeypatch):

    drawn = []

    def stop(explanation):
        if drawn:
            raise KeyboardInterrupt
        drawn.append(draw_explanation(explanation))
        return drawn[-1]

    monkeypatch.setattr(run_explain, "draw_explanation", stop)
    settings = Settings(2, 2, 2)
    with pytest.raises(KeyboardInterrupt):
        run_explain.run_explain(
            str(model_folder),
            str(clip),
            (),
            1,
            2,
            True,
            None,
            str(tmp_path / "a.pdf"),
            str(tmp_path / "a.csv"),
            settings,
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["noise.wav"]


def test_a_record_of_a_tfrecord_is_explained(shared):
    record = shared / "interop" / "tfrecord" / "scd-test.tfrecord"
    task = Task("scd", tuple(f"word {number}" for number in range(35)), "multiclass", 22050, 22050)
    model = SampleCNN(ModelConfig("basic", num_blocks=3, num_classes=35, features=2), task).eval()
    found = explain(model, f"{record}#1", top=1, max_windows=1, settings=Settings(2, 2, 2))
    assert len(found.windows[0].wave) == task.window and found.windows[0].wave.any()


def test_a_recording_that_is_cut_short_is_explained_where_asked(model_folder, clip, tmp_path, capsys):
    cut = tmp_path / "cut.wav"
    cut.write_bytes(clip.read_bytes()[: 4 * WINDOW])
    small = {"top": 1, "max_windows": 1, "settings": Settings(2, 2, 2)}
    with pytest.raises(SampleCNNError, match=r"cut short.*--accept-truncated"):
        explain(model_folder, cut, **small)
    run_explain.run_explain(str(model_folder), str(cut), output=str(tmp_path), accept_truncated=True, **small)
    assert f"warning: {cut}: kept 0.5" in capsys.readouterr().err


def test_the_scores_are_the_networks_own(model_folder, clip):
    model = model_files.load(model_folder)
    tags = explain(model, clip, top=1, max_windows=1, settings=Settings(2, 2, 2)).recording_tags
    wave = soundfile.read(clip, dtype="float32")[0].reshape(5, WINDOW)
    with torch.no_grad():
        wanted = model.probabilities(torch.from_numpy(wave / 0.2)).numpy()
    np.testing.assert_allclose(tags.over_time, wanted, atol=1e-4)
    np.testing.assert_array_equal(tags.starts, np.arange(5) * WINDOW)


def test_the_picture_shows_the_sentences_and_the_maps(model_folder, clip):
    found = explain(model_folder, clip, top=2, max_windows=2, settings=Settings(3, 4, 3))
    figure = draw_explanation(found)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert [title for title in titles if title] == found.words()
    maps = [image for axes in figure.axes for image in axes.images]
    assert {image.get_array().shape for image in maps} >= {(3, 4)}
    assert draw_explanation(found, DARK).get_facecolor() != figure.get_facecolor()


def test_the_spectrogram_has_its_peak_where_the_tone_is(tone):
    for frequency in (300.0, 1000.0, 3000.0):
        decibels = mel_spectrogram(tone(frequency, 1.0, RATE), RATE, bands=48)
        row = decibels[:, decibels.shape[1] // 2].argmax()
        assert row == pytest.approx(float(mel(frequency) / mel(RATE / 2)) * 48 - 0.5, abs=1)


def test_help_imports_nothing_heavy():
    """The command's module imports nothing heavy."""
    import subprocess

    code = "import sys, samplecnn.cli.explain; print([m for m in ('torch', 'numpy', 'matplotlib') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
