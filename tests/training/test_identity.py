"""A run knows its data: it resumes on the same build only, can be extended, and its model knows what it has heard."""

import json

import numpy as np
import pytest
import soundfile
import torch

import samplecnn
from samplecnn import model_files, resume, train
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.evaluation import examine
from samplecnn.evaluation.seen_clips import SEEN, read_seen
from samplecnn.training.checkpoint import CHECKPOINT, load_checkpoint
from samplecnn.training.logging import read_metrics

RATE, WINDOW = 8000, 729
BUILD = {"sample_rate": RATE, "window": WINDOW, "workers": 1, "progress": False}
SMALL = {
    "recipe": "original", "block": "basic", "features": 2, "precision": "fp32", "num_readers": 1, "batch_size": 8,
    "device": "cpu",
}  # fmt: skip
TIMES = ("seconds", "segments_per_second")


@pytest.fixture
def noises(tmp_path):
    """A folder of two kinds of noise, which no two clips share, built with seed 0."""
    rng = np.random.default_rng(0)
    for loud, kind in ((0.02, "quiet"), (0.2, "loud")):
        (tmp_path / "noises" / kind).mkdir(parents=True)
        for index in range(20):
            soundfile.write(tmp_path / "noises" / kind / f"{index}.wav", loud * rng.standard_normal(WINDOW), RATE)
    samplecnn.build(tmp_path / "noises", tmp_path / "data", **BUILD)
    return tmp_path


def run_small(folder, **changes):
    places = {"data_dir": folder / "data", "log_dir": folder / "log"}
    return train(str(folder / "noises"), **{**SMALL, **places, **changes}).run


def rows(run):
    """The rows of metrics.jsonl that do not depend on the clock, without the record of an extension."""
    return [
        {name: value for name, value in row.items() if name not in TIMES}
        for row in read_metrics(run)
        if row["event"] != "extended"
    ]


def same_weights(one, other):
    ours, theirs = (samplecnn.load(run).state_dict() for run in (one, other))
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(
    ("begun", "extension"),
    [
        ({"num_stages": 1, "max_epochs": 2}, {"num_stages": 2}),
        ({"num_stages": 1, "max_epochs": 1}, {"max_epochs": 3}),
        ({"num_stages": 1, "max_epochs": 1}, {"num_stages": 2, "max_epochs": 1}),
        ({"num_stages": 1, "max_epochs": 8, "patience": 1, "lr": 1.0}, {"patience": 3}),
    ],
)
def test_an_extended_run_is_the_run_that_had_the_bounds_from_its_start(noises, begun, extension, capsys):
    whole = run_small(noises, **{**begun, **extension})
    run = run_small(noises, **begun)
    ends = [row for row in rows(run) if row["event"] == "epoch"]
    if "patience" in extension and len(ends) == begun["max_epochs"]:
        pytest.fail("the run was to end by its patience")
    with pytest.raises(UsageError, match=r"finished.*--num-stages.*--init-from"):
        resume(run)
    assert resume(run, **extension).run == run
    assert rows(run) == rows(whole) and same_weights(run, whole)
    described = json.loads((run / model_files.CONFIG).read_text())["training"]
    (record,) = described["extended"]
    for name, value in extension.items():
        if value != begun[name if name in begun else "num_stages"]:
            assert record[name] == [load_or_default(begun, name), value]
    assert load_checkpoint(run).state.finished


def load_or_default(begun, name):
    return begun.get(name, getattr(samplecnn.training.TrainOptions, name))


def test_what_cannot_be_extended(noises):
    run = run_small(noises, num_stages=2, max_epochs=1)
    for wanted in ({"num_stages": 1}, {"patience": 1}):
        with pytest.raises(UsageError, match="can only be raised"):
            resume(run, **wanted)
    with pytest.raises(UsageError, match=r"leaves nothing to train.*--num-stages"):
        resume(run, patience=5)  # its last stage ended by --max-epochs
    with pytest.raises(UsageError, match="finished"):
        resume(run, num_stages=2)


def test_a_run_that_an_earlier_version_finished_gets_more_stages(noises, capsys):
    run = run_small(noises, num_stages=1, max_epochs=1)
    values = torch.load(run / CHECKPOINT, weights_only=True)
    del values["data"]
    values["weights"] = values["best"]
    values["state"].update(stage=1, epoch=0, stage_steps=0, bad_epochs=0, best_loss=float("inf"))
    torch.save(values, run / CHECKPOINT)
    with pytest.raises(UsageError, match="earlier version"):
        resume(run, max_epochs=2)
    resume(run, num_stages=2)
    assert [row["stage"] for row in read_metrics(run) if row["event"] == "test"] == [1, 2]
    assert "does not record the fingerprint" in capsys.readouterr().err
    assert same_weights(run, run_small(noises, num_stages=2, max_epochs=1))


def test_a_data_set_built_with_another_seed_is_refused_with_both(noises):
    run = run_small(noises, num_stages=1, max_epochs=1)
    kept = (run / CHECKPOINT).read_bytes()
    samplecnn.build(noises / "noises", noises / "data", seed=1, **BUILD)
    with pytest.raises(SampleCNNError) as caught:
        resume(run, num_stages=2)
    message = str(caught.value)
    assert "was rebuilt after the run started" in message and "\n" not in message
    assert "seed 0" in message and "seed 1" in message
    assert message.count("fingerprint") == 2 and (run / CHECKPOINT).read_bytes() == kept
    samplecnn.build(noises / "noises", noises / "data", seed=0, **BUILD)
    resume(run, num_stages=2)


def test_scores_on_clips_of_the_training_are_called_so(noises):
    run = run_small(noises, num_stages=1, max_epochs=1)
    assert examine(run, str(noises / "noises"), noises / "data", device="cpu").warnings == []
    seen = read_seen(run)
    assert len(seen.hashes) == 36 and seen.fingerprint == load_checkpoint(run).data["fingerprint"]
    samplecnn.build(noises / "noises", noises / "data", seed=1, **BUILD)
    (warning,) = examine(run, str(noises / "noises"), noises / "data", device="cpu").warnings
    assert "was trained or validated on" in warning and "of these 4 clips" in warning and "\n" not in warning
    tuned = run_small(noises, num_stages=1, max_epochs=1, init_from=run)
    assert set(seen.hashes) < set(read_seen(tuned).hashes)  # what the initial weights have heard counts too
    (run / SEEN).write_bytes(b"damaged")
    assert read_seen(run) is None
    assert examine(run, str(noises / "noises"), noises / "data", device="cpu").warnings == []


def test_training_says_that_test_clips_are_in_the_training_split(noises, capsys):
    lines = ["path,labels,split"]
    for kind in ("quiet", "loud"):
        for index in range(20):
            path = noises / "noises" / kind / f"{index}.wav"
            lines.append(f"{path},{kind},{'train' if index < 12 else 'val' if index < 16 else 'test'}")
            if index < 3:
                copy = path.with_name(f"copy {index}.wav")
                copy.write_bytes(path.read_bytes())
                lines.append(f"{copy},{kind},test")
    (noises / "twice.csv").write_text("\n".join(lines) + "\n")
    samplecnn.build(noises / "twice.csv", noises / "data", **BUILD)
    train(
        str(noises / "twice.csv"), data_dir=noises / "data", log_dir=noises / "log", num_stages=1, max_epochs=1, **SMALL
    )
    assert "6 of 14 test clips are also in the training or validation split" in capsys.readouterr().err


def test_another_padding_than_the_models_is_told_where_clips_were_short(noises):
    run = run_small(noises, num_stages=1, max_epochs=1)
    config = json.loads((run / model_files.CONFIG).read_text())
    config["task"]["padding"] = "stretch"
    (run / model_files.CONFIG).write_text(json.dumps(config))
    spec = str(noises / "noises")
    assert examine(run, spec, noises / "data", device="cpu").warnings == []  # no clip is short
    for path in (noises / "noises").glob("*/*.wav"):
        wave, _ = soundfile.read(path)
        soundfile.write(path, wave[: WINDOW // 2], RATE)
    samplecnn.build(noises / "noises", noises / "data", **BUILD)
    (warning,) = examine(run, spec, noises / "data", device="cpu").warnings
    assert "stretch" in warning and "tile" in warning and "--padding stretch" in warning and "\n" not in warning
    record = noises / "data" / "noises" / "arrow" / "build.json"
    values = json.loads(record.read_text())
    del values["short"]  # as an earlier version wrote it
    record.write_text(json.dumps(values))
    assert "--padding stretch" in examine(run, spec, noises / "data", device="cpu").warnings[0]
    samplecnn.build(noises / "noises", noises / "data", padding="stretch", **BUILD)
    assert examine(run, spec, noises / "data", device="cpu").warnings == []
