"""The report: its figures against independent computations, its sound, and the content of the page."""

import base64
import io
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
import torch
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from typer.testing import CliRunner

from samplecnn import model_files
from samplecnn.analysis.reporting import report
from samplecnn.analysis.reporting.elements import darken, png
from samplecnn.analysis.reporting.findings import Contents, clip_wave
from samplecnn.analysis.reporting.mistakes import sound_uri, worst_mistakes
from samplecnn.analysis.reporting.svg import confusion, nice_ticks, whisker
from samplecnn.cli.explain import report_command
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.evaluation import Predictions
from samplecnn.evaluation.confusion import confusion_matrix
from samplecnn.evaluation.intervals import WeightedScores, intervals, wilson
from samplecnn.models import ModelConfig, SampleCNN
from samplecnn.shards import open_split
from samplecnn.task import Task

FEW = Contents(mistakes=3, explained=1, filter_steps=1, draws=20)


@pytest.fixture(scope="module")
def answers():
    """answers(kind) -> labels, probabilities and task of 60 clips; probabilities with many ties."""

    def make(kind, clips=60, classes=4):
        generator = np.random.default_rng(7)
        task = Task("t", tuple("abcdefgh"[:classes]), kind, 8000, 1000, threshold=0.4)
        labels = np.eye(classes, dtype=np.uint8)[generator.integers(classes, size=clips)]
        if kind == "multilabel":
            labels |= (generator.random((clips, classes)) < 0.2).astype(np.uint8)
        raw = labels * 0.8 + generator.random((clips, classes))
        prob = raw / raw.sum(axis=1, keepdims=True) if kind == "multiclass" else raw / 2
        return labels, np.round(prob, 1).astype(np.float32), task

    return make


@pytest.mark.parametrize("kind", ["multiclass", "multilabel"])
def test_a_draw_is_scored_as_scikit_learn_scores_the_drawn_clips(answers, kind):
    true, prob, task = answers(kind)
    generator = np.random.default_rng(0)
    chosen = generator.integers(len(true), size=len(true))
    weights = np.bincount(chosen, minlength=len(true))[None].astype(np.float32)
    per_class, overall = WeightedScores(true.astype(bool), prob, task)(weights)
    drawn_true, drawn_prob = true[chosen], prob[chosen]
    decided = drawn_prob > task.threshold if kind == "multilabel" else np.eye(4, dtype=bool)[drawn_prob.argmax(axis=1)]
    for index in range(4):
        area = roc_auc_score(drawn_true[:, index], drawn_prob[:, index])
        assert per_class["roc_auc"][0, index] == pytest.approx(area, abs=1e-6)
        area = average_precision_score(drawn_true[:, index], drawn_prob[:, index])
        assert per_class["pr_auc"][0, index] == pytest.approx(area, abs=1e-6)
        wanted = f1_score(drawn_true[:, index], decided[:, index])
        assert per_class["f1"][0, index] == pytest.approx(wanted, abs=1e-6)
    assert overall["roc_auc"][0] == pytest.approx(roc_auc_score(drawn_true, drawn_prob, average="macro"), abs=1e-6)
    assert overall["macro_f1"][0] == pytest.approx(f1_score(drawn_true, decided, average="macro"), abs=1e-6)
    over = drawn_prob > task.threshold
    assert overall["f1"][0] == pytest.approx(f1_score(drawn_true, over, average="samples", zero_division=0), abs=1e-6)


def test_intervals_have_the_theoretical_width_and_are_repeatable(answers):
    generator = np.random.default_rng(1)
    right = generator.random(400) < 0.8
    true = np.eye(2, dtype=np.uint8)[np.zeros(400, dtype=int)]
    prob = np.where(right[:, None], [0.9, 0.1], [0.1, 0.9]).astype(np.float32)
    task = Task("t", ("a", "b"), "multiclass", 8000, 1000)
    got = intervals(true, prob, task, draws=2000, seed=3)
    low, high = got.overall["f1"]  # with one label and the threshold 0.5 the share of clips that are right
    share = right.mean()
    half = 1.96 * np.sqrt(share * (1 - share) / 400)  # normal approximation of the binomial
    assert (low, high) == pytest.approx((share - half, share + half), abs=0.006)
    assert got.overall["accuracy"] == pytest.approx((share - half, share + half), abs=0.006)
    again = intervals(true, prob, task, draws=2000, seed=3)
    assert again.overall["f1"] == got.overall["f1"]
    assert intervals(true, prob, task, draws=2000, seed=4).overall["f1"] != (low, high)
    narrow = intervals(true, prob, task, draws=2000, seed=3, level=0.5).overall
    for name in ("f1", "accuracy"):
        low, high = got.overall[name]
        assert low < narrow[name][0] < narrow[name][1] < high
    assert np.isnan(got.per_class["roc_auc"]).all()  # every clip has the one class, none the other
    assert np.isnan(got.per_class["recall"][1]).all()


def test_wilsons_interval_is_scipys():
    hits, total = np.array([0, 7, 60, 1]), np.array([20, 10, 60, 3])
    for level in (0.5, 0.95):
        found = wilson(hits, total, level)
        for index in range(4):
            wanted = binomtest(hits[index], total[index]).proportion_ci(level, "wilson")
            assert tuple(found[:, index]) == pytest.approx((wanted.low, wanted.high), abs=1e-12)
    assert np.isnan(wilson(0, 0, 0.95)).all()


def test_a_perfect_score_has_no_interval_of_zero_width():
    true = np.eye(2, dtype=np.uint8)[np.arange(60) % 2]
    prob = np.where(true, 0.9, 0.1).astype(np.float32)
    got = intervals(true, prob, Task("t", ("a", "b"), "multiclass", 8000, 1000), draws=100)
    assert got.overall["accuracy"] == pytest.approx((0.9398, 1), abs=1e-3)
    assert got.per_class["recall"][0] == pytest.approx((0.8865, 1), abs=1e-3)  # 30 of 30
    for name in ("roc_auc", "pr_auc", "macro_f1"):
        assert np.isnan(got.overall[name]).all(), "every draw gives 1, which says nothing"


def test_the_worst_mistakes_come_first():
    task = Task("t", ("a", "b", "c"), "multiclass", 8000, 1000)
    prob = np.array([[0.9, 0.1, 0], [0.6, 0.4, 0], [0.05, 0.9, 0.05], [0.5, 0.2, 0.3]], np.float32)
    true = np.eye(3, dtype=np.uint8)[[0, 1, 2, 1]]
    found = worst_mistakes(Predictions(["w", "x", "y", "z"], true, prob, np.ones(4)), task, 5)
    assert [mistake.name for mistake in found] == ["y", "z", "x"]
    assert found[0].tags == ("b", "c") and found[0].true == ("c",)
    assert len(worst_mistakes(Predictions(["w", "x", "y", "z"], true, prob, np.ones(4)), task, 1)) == 1


def test_multi_label_mistakes_show_every_class_before_one_twice():
    task = Task("t", ("a", "b", "c"), "multilabel", 8000, 1000, threshold=0.5)
    true = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]], np.uint8)
    prob = np.array([[0.1, 0, 0], [0.2, 0, 0], [0, 0.9, 0.7], [0, 0.4, 0.9], [0.4, 0.4, 0.4]], np.float32)
    found = worst_mistakes(Predictions(list("vwxyz"), true, prob, np.ones(5)), task, 9)
    assert [mistake.name for mistake in found] == ["v", "x", "w"]
    assert (found[0].predicted, found[0].missed) == (None, "a")
    assert (found[1].predicted, found[1].missed) == ("c", None)


@pytest.mark.parametrize("seconds, kind", [(1.0, "wav"), (10.0, "mpeg")])
def test_sound_can_be_decoded_again(tone, seconds, kind):
    wave = tone(500, seconds, 22050)
    head, data = sound_uri(wave, 22050).split(",", 1)
    assert head == f"data:audio/{kind};base64"
    sound, rate = soundfile.read(io.BytesIO(base64.b64decode(data)))
    assert rate == 22050 and len(sound) == pytest.approx(len(wave), abs=3000)
    spectrum = np.abs(np.fft.rfft(sound[2000:20000]))
    assert spectrum.argmax() * rate / 18000 == pytest.approx(500, abs=3)
    assert len(data) < 110_000


def test_charts_show_their_data():
    true, predicted = np.repeat([0, 0, 1], [5, 2, 7]), np.repeat([0, 1, 1], [5, 2, 7])
    labels, prob = np.eye(2, dtype=np.uint8)[true], np.eye(2, dtype=np.float32)[predicted]
    predictions = Predictions([str(number) for number in range(14)], labels, prob, np.ones(14, int))
    chart = confusion(confusion_matrix(predictions, Task("t", ("a<b", "c"))))
    assert "a&lt;b predicted as c: 2 (29 %)" in chart and "a<b" not in chart
    assert len(re.findall('class="right"', chart)) == 2 and len(re.findall('class="wrong"', chart)) == 1
    assert nice_ticks(0.13, 0.97) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert nice_ticks(2.0, 2.0)[0] <= 2.0 < nice_ticks(2.0, 2.0)[-1]
    assert whisker(float("nan"), (0, 1)) == ""


def test_a_picture_for_white_paper_is_recoloured_for_a_dark_page():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2, 2))
    axes = figure.subplots()
    axes.plot([0, 1], color="black")
    [blue] = axes.plot([1, 0], color="#0072b2")
    [purple] = axes.plot([0, 0], color="#440154")
    axes.set_title("title")
    light = png(figure, 50)
    darken(figure)
    assert sum(figure.get_facecolor()[:3]) < 0.5 and sum(axes.get_facecolor()[:3]) < 0.5
    from matplotlib.colors import to_rgb

    assert blue.get_color() == "#0072b2"  # a colour stays unless it is too dark
    assert sum(to_rgb(purple.get_color())) > 1.5
    assert sum(to_rgb(axes.title.get_color())) > 2.4 and sum(to_rgb(axes.lines[0].get_color())) > 2.4
    assert png(figure, 50)[0] != light[0] and light[1:] == (100, 100)


class Page(HTMLParser):
    """What a page is made of: (tag, attributes) in order; raises where tags are not closed in order."""

    VOID = ("meta", "link", "img", "source", "line", "circle", "br")

    def __init__(self, text):
        super().__init__()
        self.parts, self.open = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.parts.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.parts.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag):
        return [attributes for name, attributes in self.parts if name == tag]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """run(kind) -> an untrained model's run directory for the tones and noise of `built`."""

    def make(data, name, block="se"):
        task = open_split(name, data, "test").task
        torch.manual_seed(0)
        model = SampleCNN(ModelConfig(block, num_blocks=2, num_classes=task.num_classes, features=8), task)
        for module in model.modules():
            if hasattr(module, "running_mean"):
                module.UPDATE = 1.0  # the statistics of one batch, so that outputs differ between sounds
        with torch.no_grad():
            model.train()(torch.randn(8, task.window))
        folder = tmp_path_factory.mktemp("log") / f"{name}-{block}"
        model_files.save(model, folder)
        epochs = [
            f'{{"event": "epoch", "stage": {1 + n // 2}, "epoch": {n + 1}, "total_steps": {5 * n + 5}, "lr": 0.01, '
            f'"train_loss": {1 / (n + 1)}, "val_loss": {1.2 / (n + 1)}, "val_roc_auc": null, "val_accuracy": 0.5, '
            '"best": true}\n'
            for n in range(4)
        ]
        test = '{"event": "test", "stage": 1, "total_steps": 20, "roc_auc": 0.7, "accuracy": 0.5}\n'
        (folder / "metrics.jsonl").write_text("".join(epochs) + test)
        return folder

    return make


def test_a_report_of_a_one_label_task_has_all_sections(built, run):
    folder = run(built / "data", "sounds")
    path = report(str(folder), "sounds", data_dir=built / "data", contents=FEW)
    assert path == folder / "analysis" / "report-sounds.html"
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    ids = {attributes["id"] for attributes in page.all("h2")}
    assert ids == {"classes", "confusion", "mistakes", "training", "excitations", "filters", "network", "settings"}
    assert {link["href"] for link in page.all("a")} == {f"#{name}" for name in ids}
    assert all(image["alt"] and image["src"].startswith("data:image/png;base64,") for image in page.all("img"))
    assert len(page.all("source")) == len(page.all("img")) > 8
    assert all(svg.get("aria-label") or svg.get("aria-hidden") for svg in page.all("svg"))
    assert all(head["scope"] in ("col", "row") for head in page.all("th"))
    assert not page.all("script")
    links = [
        value for _, attributes in page.parts for key, value in attributes.items() if key in ("src", "srcset", "href")
    ]
    assert all(link.startswith(("data:", "#")) for link in links)
    assert "url(" not in text and "@import" not in text
    assert len(page.all("audio")) <= 3
    assert "percentile bootstrap with 20 draws" in text
    assert path.stat().st_size < 5e6


def test_a_report_of_a_multi_label_task_has_curves_and_omits_sections_on_request(built, run, tmp_path):
    folder = run(built / "data", "labels", block="basic")
    (folder / "metrics.jsonl").unlink()
    contents = Contents(mistakes=0, filters=False, draws=5)
    path = report(str(folder), "labels", str(tmp_path / "out.html"), data_dir=built / "data", contents=contents)
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    ids = {attributes["id"] for attributes in page.all("h2")}
    assert path == tmp_path / "out.html"
    assert ids == {"classes", "confusion", "mistakes", "excitations", "network", "settings"}
    assert "basic blocks have no excitations" in text
    assert "Precision over recall of" in text and not page.all("audio")


def test_a_model_file_alone_is_enough(built, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = run(built / "data", "sounds")
    keras = tmp_path / "alone.h5"
    from samplecnn.interop.keras import h5

    h5.write(model_files.load(folder), keras)
    contents = Contents(mistakes=1, explained=0, filters=False, excitations=False, draws=5)
    path = report(str(keras), "sounds", data_dir=built / "data", contents=contents)
    assert path.name == "report-sounds.html" and "training" not in path.read_text().lower().split("<nav")[1][:300]


def test_the_command_and_its_options(built, run, tmp_path):
    import typer

    app = typer.Typer()
    app.command()(report_command)
    folder = run(built / "data", "sounds")
    few = ["--mistakes", "2", "--explained", "0", "--no-filters", "--no-excitations", "--draws", "7", "--seed", "5"]
    words = [str(folder), "sounds", "--data-dir", str(built / "data"), "-o", str(tmp_path), *few]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip().endswith("report-sounds.html")
    text = (tmp_path / "report-sounds.html").read_text()
    assert "with 7 draws (seed 5)" in text
    assert 'id="filters"' not in text and 'id="excitations"' not in text and text.count("<audio") <= 2


def test_wrong_use_is_one_line_before_the_work(built, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = run(built / "data", "sounds")
    (tmp_path / "file").write_text("")
    with pytest.raises(SampleCNNError, match="cannot be written"):
        report(str(folder), "sounds", "file/r.html", data_dir=built / "data", contents=FEW)
    with pytest.raises(SampleCNNError, match="cannot be written"):
        report(str(folder), "sounds", "file", data_dir=built / "data", contents=FEW)
    with pytest.raises(UsageError, match="not built yet"):
        report(str(folder), "demo", None, data_dir=tmp_path / "nowhere", contents=FEW)
    with pytest.raises(UsageError, match="there is no such model"):
        report("no-model", "sounds", None, data_dir=built / "data", contents=FEW)
    with pytest.raises(UsageError, match="does not fit data set"):
        report(str(folder), "labels", None, data_dir=built / "data", contents=FEW)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_empty_split_is_one_line(built, run, tmp_path, monkeypatch):
    import shutil

    monkeypatch.chdir(tmp_path)
    shutil.copytree(built / "data" / "sounds", tmp_path / "data" / "sounds")
    for path in (tmp_path / "data" / "sounds" / "arrow").glob("test-*"):
        path.unlink()
    with pytest.raises(UsageError, match="no clips in its test split"):
        report(str(run(built / "data", "sounds")), "sounds", None, data_dir=tmp_path / "data", contents=FEW)


def test_an_interrupted_report_leaves_no_file(built, run, tmp_path, monkeypatch):
    from samplecnn.analysis import reporting

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(reporting, "page", stop)
    contents = Contents(mistakes=0, filters=False, excitations=False, draws=2)
    with pytest.raises(KeyboardInterrupt):
        report(str(run(built / "data", "sounds")), "sounds", str(tmp_path), data_dir=built / "data", contents=contents)
    assert list(tmp_path.iterdir()) == []


def test_the_sound_of_a_clip_is_all_of_its_segments(built):
    segments = open_split("sounds", built / "data", "test")
    name = segments.ids[0]
    rows = [row for row, id in enumerate(segments.ids) if id == name]
    wave = clip_wave(segments, name)
    assert len(wave) == len(rows) * segments.task.window and np.abs(wave).max() <= 1


def test_help_imports_nothing_heavy():
    import subprocess

    code = "import sys, samplecnn.cli.explain; print([m for m in ('torch', 'sklearn', 'PIL') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
