"""A review without its page: what is offered, how answers are stored, what follows from them."""

import json
import shutil

import numpy as np
import pytest
import soundfile

from samplecnn import Tagger, model_files
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.evaluation.thresholds import Goal
from samplecnn.index import read_index, update_index
from samplecnn.index.review import answers as stored
from samplecnn.index.review.answers import Answer, open_answers, read_answers
from samplecnn.index.review.candidates import BINS, Peaks, are_peaks, upcoming
from samplecnn.index.review.estimates import Judged, effective, estimate, wilson
from samplecnn.index.review.head import new_head
from samplecnn.index.review.logistic import fit_calibration, sigmoid
from samplecnn.index.review.session import Session
from samplecnn.index.review.state import Review

GOAL = Goal("precision", 0.8)


def an_answer(start=0.5, verdict="accept", name="low", **more):
    return Answer(name, verdict, "a" * 64, start, start + 1, path="x.wav", score=0.7, **more)


def test_answers_are_kept_in_order_and_replaced_and_undone(tmp_path):
    with open_answers(tmp_path) as file:
        file.add(an_answer(1))
        file.add(an_answer(2, "relabel", label="high"))
        file.add(an_answer(1, "reject"))
        assert [answer.start for answer in file.answers.values()] == [2, 1]
        assert file.undo() == an_answer(1, "reject")
        file.add(an_answer(3, "skip"))
        kept = dict(file.answers)
    assert read_answers(tmp_path) == kept
    assert list(kept.values()) == [an_answer(2, "relabel", label="high"), an_answer(3, "skip")]
    assert len((tmp_path / stored.NAME).read_text().splitlines()) == 5  # nothing is ever rewritten


def test_every_answer_is_in_the_file_before_the_next(tmp_path):
    with open_answers(tmp_path) as file:
        for number in range(5):
            file.add(an_answer(number))
            assert len(read_answers(tmp_path)) == number + 1


def test_half_a_line_is_of_a_killed_process(tmp_path):
    with open_answers(tmp_path) as file:
        file.add(an_answer(1))
        file.add(an_answer(2))
    path = tmp_path / stored.NAME
    data = path.read_bytes()
    for cut in range(data.index(b"\n") + 1, len(data)):
        path.write_bytes(data[:cut])
        assert list(read_answers(tmp_path).values()) == [an_answer(1)]
    with open_answers(tmp_path) as file:
        file.add(an_answer(3))
    assert [answer.start for answer in read_answers(tmp_path).values()] == [1, 3]


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / stored.NAME
    path.write_bytes(an_answer().to_line() + b'{"class": "low", "answer": "perhaps"}\n' + an_answer(2).to_line())
    with pytest.raises(UsageError, match=r"review\.jsonl, line 2: answer must be accept, .*remove this line"):
        read_answers(tmp_path)


def test_one_review_at_a_time(tmp_path):
    with (
        open_answers(tmp_path),
        pytest.raises(UsageError, match="another `samplecnn index review`"),
        open_answers(tmp_path),
    ):
        pass


def test_an_answer_that_cannot_be_written_is_not_half_there(tmp_path, monkeypatch):
    with open_answers(tmp_path) as file:
        file.add(an_answer(1))
        write = stored.os.write

        def fails(descriptor, data):
            write(descriptor, data[:10])
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(stored.os, "write", fails)
        with pytest.raises(SampleCNNError, match="No space left"):
            file.add(an_answer(2))
        monkeypatch.setattr(stored.os, "write", write)
        file.add(an_answer(3))
    assert [answer.start for answer in read_answers(tmp_path).values()] == [1, 3]


def test_peaks_are_those_that_a_comparison_of_all_pairs_gives():
    rng = np.random.default_rng(1)
    for reach in (0, 1, 3, 40):
        score, group = rng.integers(0, 6, 60), np.sort(rng.integers(0, 4, 60))
        wanted = [
            all(
                score[i] > score[j] if j < i else score[i] >= score[j]
                for j in range(max(0, i - reach), min(60, i + reach + 1))
                if j != i and group[i] == group[j]
            )
            for i in range(60)
        ]
        assert are_peaks(score, group, reach).tolist() == wanted


def peaks_of(score) -> Peaks:
    score = np.asarray(score, np.float32)
    return Peaks(np.arange(len(score)), np.zeros(len(score)), np.ones(len(score)), score)


def test_orders():
    rng = np.random.default_rng(0)
    peaks = peaks_of(np.concatenate([rng.uniform(0, 0.1, 500), rng.uniform(0.45, 0.55, 40), rng.uniform(0.9, 1, 6)]))
    balanced = upcoming(peaks, set(), "balanced", 0.5, 40)
    counts = np.bincount(peaks.bin[balanced], minlength=BINS)
    assert len(set(balanced)) == 40 and counts[9] == 6 and counts[[0, 4, 5]].min() >= 11
    assert upcoming(peaks, set(balanced[:7]), "balanced", 0.5, 33) == balanced[7:]  # goes on where it was
    best = upcoming(peaks, {545}, "best", 0.5, 5)
    assert sorted(best) == [540, 541, 542, 543, 544] and list(peaks.score[best]) == sorted(peaks.score[best])[::-1]
    uncertain = upcoming(peaks, set(), "uncertain", 0.5, 10)
    assert np.abs(peaks.score[uncertain] - 0.5).max() <= np.sort(np.abs(peaks.score - 0.5))[9] + 1e-3
    assert upcoming(peaks, set(range(546)), "balanced", 0.5, 3) == []


def test_the_interval_of_the_precision_holds_the_truth():
    """Planted: most windows score low, and a score is right with a known probability. Answers are offered balanced."""
    rng = np.random.default_rng(3)
    inside, recalls, estimates = 0, [], 0
    for _ in range(150):
        score = np.clip(rng.beta(0.4, 1.6, 3000), 1e-4, 1 - 1e-4)
        right = rng.random(3000) < sigmoid(1.5 * np.log(score / (1 - score)) + 0.5)
        peaks = peaks_of(score)
        at = np.array(upcoming(peaks, set(), "balanced", 0.5, 50))
        judged = Judged(peaks.score[at].astype(float), right[at], peaks.bin[at], peaks.recording[at])
        found = estimate("x", judged, np.bincount(peaks.bin, minlength=BINS), GOAL)
        if found is None:
            continue
        estimates += 1
        above = score > found.threshold
        inside += found.precision_low <= right[above].mean() <= found.precision_high
        recalls.append(found.recall - right[above].sum() / right.sum())
    assert estimates > 140 and inside / estimates > 0.88
    assert abs(np.mean(recalls)) < 0.1  # without the weights of the bins it is off by 0.25


def test_known_values():
    assert wilson(1.0, 20)[0] == pytest.approx(0.8389, abs=1e-4) and wilson(1.0, 20)[1] == 1
    assert wilson(0.5, 0) == (0, 1)
    assert effective(np.ones(7)) == 7 and effective(np.array([100.0, 1, 1])) < 1.1
    logits = np.linspace(-4, 4, 4000)
    right = np.random.default_rng(0).random(4000) < sigmoid(0.6 * logits - 1)
    assert fit_calibration(logits, right) == pytest.approx((0.6, -1), abs=0.1)
    scale, _ = fit_calibration(logits, np.random.default_rng(0).random(4000) < sigmoid(-logits))
    assert scale > 0  # an inverted score is not turned round


@pytest.fixture(scope="module")
def judged_sounds(tmp_path_factory, model):
    """Loud and quiet noise, an index of it, and answers on "low": right where it is loud."""
    base = tmp_path_factory.mktemp("judged")
    (base / "sounds").mkdir()
    for number in range(30):
        wave = np.random.default_rng(number).normal(size=3200)
        soundfile.write(base / "sounds" / f"{number:02}.wav", (0.02 + 0.03 * (number % 7)) * wave, 8000)
    update_index(base / "r.index", model, [base / "sounds"], engine="numpy", precision="fp32")
    index = read_index(base / "r.index")
    with open_answers(base / "r.index") as file:
        session = Session(Review(index, file.answers, GOAL), file, index.classes, "balanced", 0.1)
        for _ in range(40):
            event = session.of_class("low")["events"][0]
            loud = int(event["file"][:2]) % 7 > 3
            session.answer(event["event"], "accept" if loud else "reject")
    return base


@pytest.fixture
def reviewed(judged_sounds, tmp_path):
    """A copy of that index."""
    return shutil.copytree(judged_sounds / "r.index", tmp_path / "r.index")


def test_a_new_head_learns_what_the_answers_say_and_is_a_model(reviewed, judged_sounds, run, tmp_path, model):
    outcome = run("review", reviewed, "--save", tmp_path / "new", "--goal", "precision=0.8")
    assert outcome.exit_code == 0, outcome.output
    assert "low: log loss" in outcome.output and f"saved {tmp_path / 'new'}" in outcome.output
    index = read_index(reviewed)
    review = Review(index, read_answers(reviewed), GOAL)
    head = new_head(review)
    [score], found = head.scores, head.thresholds["low"]
    assert score.loss < 0.35 < score.loss_before and score.spread > 0  # loudness is in the embedding
    assert found.met and found.recall > 0.8
    before, after = (Tagger(path, engine="numpy", precision="fp32") for path in (model, tmp_path / "new"))
    wrong = []
    for number in range(30):
        path = judged_sounds / "sounds" / f"{number:02}.wav"
        old, new = before(path), after(path)
        np.testing.assert_allclose(old.over_time[:, 1:], new.over_time[:, 1:], atol=1e-6)  # other classes are as before
        wrong.append(((new.over_time[:, 0] > after.task.class_thresholds[0]) != (number % 7 > 3)).mean())
    assert np.mean(wrong) < 0.1
    config = json.loads((tmp_path / "new" / "config.json").read_text())
    [record] = config["training"]["reviews"]
    assert (record["answers"], record["goal"], record["index"]) == (40, "precision=0.8", str(reviewed))
    assert record["model_sha256"] == index.settings.model_sha256 and record["classes"][0]["class"] == "low"
    assert model_files.load_graph(tmp_path / "new").task.thresholds[1:] == (0.5, 0.5)
    again = run("review", reviewed, "--save", tmp_path / "new")
    assert isinstance(again.exception, UsageError) and "exists; name a new folder" in str(again.exception)


def test_the_state_as_text_and_json(reviewed, run):
    text = run("review", reviewed, "--answers").output
    assert "low: 40 answers (" in text and "precision=0.9" in text and "--class-threshold=low=" in text
    told = json.loads(run("review", reviewed, "--answers", "--json").output)
    [state] = told["classes"]
    assert state["class"] == "low" and state["accept"] + state["reject"] == 40 == state["answers"]
    assert sum(bin["right"] for bin in state["bins"]) == state["accept"]
    assert 0 <= state["threshold"]["precision_low"] <= state["threshold"]["precision"] <= 1


def test_answers_survive_a_rename_and_an_update(reviewed, judged_sounds, run):
    before = json.loads(run("review", reviewed, "--answers", "--json").output)
    moved = (judged_sounds / "sounds").rename(judged_sounds / "moved")
    try:
        assert update_index(reviewed, None, [judged_sounds]).moved == 30
        assert json.loads(run("review", reviewed, "--answers", "--json").output) == before
    finally:
        moved.rename(judged_sounds / "sounds")


def test_answers_survive_tags_that_are_written_but_not_another_sound(reviewed, run):
    """The content of the files is another, as after writing tags; path, time and score are the same, or not."""
    before = run("review", reviewed, "--answers").output
    path = reviewed / stored.NAME
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines = [line | {"sha256": line["sha256"][::-1]} for line in lines]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run("review", reviewed, "--answers").output == before
    path.write_text("".join(json.dumps(line | {"score": line["score"] / 2}) + "\n" for line in lines))
    assert "40 answers to recordings that are not in the index" in run("review", reviewed, "--answers").output


def test_what_cannot_be_done_is_refused(tmp_path, model, noise, run):
    noise(tmp_path / "s" / "1.wav", 1)
    update_index(tmp_path / "i", model, [tmp_path / "s"], engine="numpy", embedding_layer="2")
    for words, message in (
        (["--save", tmp_path / "m"], "holds embeddings of layer 2, .*--embedding-layer hidden"),
        (["--class", "lwo"], "'lwo': no class of .*did you mean low"),
        (["--goal", "none"], "--goal"),
    ):
        outcome = run("review", tmp_path / "i", *words)
        with pytest.raises(UsageError, match=message):
            raise outcome.exception
    update_index(tmp_path / "j", model, [tmp_path / "s"], engine="numpy")
    with pytest.raises(UsageError, match="too few answers for a new head"):
        raise run("review", tmp_path / "j", "--save", tmp_path / "m").exception
    assert run("review", tmp_path / "j", "--answers").output == "no answers yet\n"
    assert not (tmp_path / "m").exists()


def test_the_head_of_one_label_per_recording(tmp_path, noise):
    """Softmax: accepted, rejected and relabelled windows all count."""
    from samplecnn.inference.precision import random_model
    from samplecnn.models.config import ModelConfig
    from samplecnn.task import Task

    task = Task("t", ("a", "b", "c"), "multiclass", 8000, 729, std=0.2)
    model_files.save(
        random_model(ModelConfig(block="se", num_blocks=4, num_classes=3, features=8), task), tmp_path / "m"
    )
    for number in range(30):
        noise(tmp_path / "sounds" / f"{number:02}.wav", number, 0.3)
    folder = tmp_path / "i"
    update_index(folder, tmp_path / "m", [tmp_path / "sounds"], engine="numpy", precision="fp32")
    index = read_index(folder)
    with open_answers(folder) as file:
        session = Session(Review(index, file.answers, GOAL), file, index.classes, "balanced", 0.1)
        for number in range(45):
            name = "abc"[number % 3]
            event = session.of_class(name)["events"][0]
            level = int(event["file"][:2]) % 7
            truth = "a" if level < 2 else "b" if level < 5 else "c"
            if truth == name:
                session.answer(event["event"], "accept")
            elif number % 2:
                session.answer(event["event"], "relabel", truth)
            else:
                session.answer(event["event"], "reject")
    review = Review(index, read_answers(folder), GOAL)
    head = new_head(review)
    [score] = head.scores
    assert score.name == "all classes" and score.loss < 0.8 * score.loss_before
    net = head.model.fold()
    assert net.softmax and net.logit.weight.shape == (3, index.settings.embedding_size)
