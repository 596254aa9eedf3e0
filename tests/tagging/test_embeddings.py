"""Embeddings of recordings: Tags, files, the Embedder and HEAR."""

import io
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
from pyarrow.parquet import read_table

from samplecnn import Embedder, Tagger, hear
from samplecnn.errors import AudioError, SampleCNNError, UsageError

RATE, WINDOW = 8000, 2000


@pytest.fixture
def paths(tmp_path, sound):
    files = {}
    for index, (name, pitch) in enumerate((("a", "low"), ("b", "high"), ("c", "low"), ("d", "high"))):
        files[name] = str(tmp_path / f"{name}.wav")
        soundfile.write(files[name], sound((pitch, 0.5 + 0.25 * index)), RATE)
    return list(files.values())


@pytest.fixture(scope="module")
def embedding_tagger(model_folder):
    return Tagger(model_folder, engine="numpy", precision="fp32", embedding="hidden")


def test_tags_hold_the_embedding_of_every_window_and_their_mean(embedding_tagger, tagger, paths):
    tags = embedding_tagger(paths[1])
    assert tags.embedding_over_time.shape == (3, embedding_tagger.engine.width - 3)
    assert tags.embedding == pytest.approx(tags.embedding_over_time.mean(0))
    np.testing.assert_allclose(tags.over_time, tagger(paths[1]).over_time, atol=1e-5)
    low, high = embedding_tagger(paths[2]).embedding, embedding_tagger(paths[3]).embedding
    assert np.linalg.norm(embedding_tagger(paths[0]).embedding - low) < 0.5 * np.linalg.norm(low - high)
    with pytest.raises(UsageError, match='embedding="hidden"'):
        tagger(paths[0]).embedding  # noqa: B018 - reading it is what fails
    again = pickle.loads(pickle.dumps(embedding_tagger))
    np.testing.assert_array_equal(again(paths[1]).embedding, tags.embedding)


def test_overlapping_windows_have_embeddings(model_folder, paths):
    for layer in ("hidden", 1):
        one = Tagger(model_folder, engine="torch", precision="fp32", hop=0.05, embedding=layer)(paths[0])
        other = Tagger(model_folder, engine="numpy", precision="fp32", hop=0.05, embedding=layer)(paths[0])
        np.testing.assert_allclose(one.embedding_over_time, other.embedding_over_time, rtol=1e-4, atol=1e-4)


def test_files_of_embeddings(run, embedding_tagger, paths, tmp_path):
    bad = tmp_path / "bad.wav"
    bad.write_text("no sound")
    options = ("--engine", "numpy", "--precision", "fp32", "--format", "jsonl")
    outcome = run(*paths, bad, *options, "--embeddings", tmp_path / "x.parquet")
    assert outcome.exit_code == 1 and len(outcome.stdout.splitlines()) == 5
    table = read_table(tmp_path / "x.parquet")
    rows = table.to_pylist()
    assert [row["path"] for row in rows] == [*paths, str(bad)]
    for row, path in zip(rows, paths, strict=False):
        tags = embedding_tagger(path)
        assert row["embedding"] == pytest.approx(list(tags.embedding), abs=1e-5)
        assert (row["start"], row["end"], row["error"]) == (0, tags.seconds, None)
    assert rows[4]["embedding"] is None and "not audio" in rows[4]["error"]
    about = json.loads(table.schema.metadata[b"samplecnn"])
    assert about["embedding"] == "hidden" and about["provenance"]["model_sha256"]
    run(*paths, *options, "--embeddings", tmp_path / "x.npz", "--over-time", "--embedding-layer", "1")
    with np.load(tmp_path / "x.npz") as arrays:
        assert arrays["paths"].tolist() == [path for path, n in zip(paths, (2, 3, 4, 5), strict=True) for _ in range(n)]
        assert arrays["embeddings"].dtype == np.float32 and len(arrays["embeddings"]) == 14
        assert arrays["starts"][:2].tolist() == [0, 0.25] and arrays["ends"][:2].tolist() == [0.25, 0.5]
        assert json.loads(str(arrays["about"]))["embedding"] == 1
    for options, message in (
        (("--embeddings", tmp_path / "x.txt"), "end in .parquet or .npz"),
        (("--embeddings", tmp_path / "y.npz", "--embedding-layer", "9"), "0 to 4"),
    ):
        outcome = run(*paths, *options)
        assert isinstance(outcome.exception, UsageError) and message in str(outcome.exception)
    assert not (tmp_path / "y.npz").exists() and not list(tmp_path.glob("*.part*"))


def test_sources_from_python(tagger, paths):
    wanted = tagger(paths[1]).scores
    content = open(paths[1], "rb").read()  # noqa: PTH123, SIM115
    wave = soundfile.read(paths[1], dtype="float32")[0]
    decoded = {"array": wave, "sampling_rate": RATE}
    for source in (content, bytearray(content), {"bytes": content, "path": "x"}, {"path": paths[1]}, decoded):
        np.testing.assert_allclose(tagger(source).scores, wanted, atol=1e-4)
    found = tagger([paths[1], io.BytesIO(content), decoded, {"raw": wave, "sampling_rate": RATE}])
    assert len(found) == 4 and all(np.allclose(tags.scores, wanted, atol=1e-4) for tags in found)
    assert tagger(wave.tolist(), RATE).seconds == tagger(paths[1]).seconds, "a list of numbers is a waveform"
    with pytest.raises(AudioError, match="no such file"):
        tagger([paths[1], "missing.wav"])
    for source, message in (
        ({"array": wave}, "needs its sample rate"),
        ({}, "'array' and 'sampling_rate'"),
        ({"array": wave, "sampling_rate": 0}, "whole number of Hz"),
    ):
        with pytest.raises(UsageError, match=message):
            tagger(source)
    for source in (content, decoded, [paths[1]]):
        with pytest.raises(UsageError, match="sample_rate applies to"):
            tagger(source, sample_rate=RATE)


def test_the_embedder_is_a_transformer_of_scikit_learn(model_folder, paths):
    from sklearn.base import clone
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline

    embedder = Embedder(model_folder, engine="numpy", precision="fp32")
    vectors = embedder.fit_transform(paths)
    assert vectors.shape == (4, embedder.size) == (4, len(embedder.get_feature_names_out()))
    copy = clone(embedder)
    assert copy is not embedder and copy.get_params() == embedder.get_params()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(copy)).transform(paths), vectors)
    assert copy.set_params(layer=1).transform(paths[:1]).shape == (1, copy.size) != (1, embedder.size)
    classifier = make_pipeline(embedder, LogisticRegression()).fit(paths, ["low", "high", "low", "high"])
    assert classifier.predict(paths[::-1]).tolist() == ["high", "low", "high", "low"]
    grid = GridSearchCV(make_pipeline(embedder, LogisticRegression()), {"embedder__layer": ["hidden", 1]}, cv=2)
    assert grid.fit(paths, ["low", "high", "low", "high"]).best_score_ == 1
    assert embedder.transform([]).shape == (0, embedder.size)
    with pytest.raises(AudioError, match="no such file"):
        embedder.transform(["missing.wav"])
    with pytest.raises(UsageError, match="no parameter 'depth'"):
        embedder.set_params(depth=1)
    with pytest.raises(UsageError, match="a list of recordings"):
        embedder.transform("a.wav")


def test_the_embedder_needs_neither_scikit_learn_nor_torch(model_folder, paths):
    program = (
        "import sys; sys.modules.update({name: None for name in ('torch', 'sklearn')})\n"
        "from samplecnn import Embedder\n"
        f"print(Embedder({str(model_folder)!r}, engine='numpy').transform({paths!r}).shape)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("(4, "), done.stderr


# What hear-validator 2021.0.6 checks.


@pytest.fixture(scope="module")
def hear_model(model_folder):
    return hear.load_model(str(model_folder))


def test_hear_models_have_the_attributes(hear_model):
    assert isinstance(hear_model, torch.nn.Module)
    for name in ("sample_rate", "scene_embedding_size", "timestamp_embedding_size"):
        assert type(getattr(hear_model, name)) is int
    with pytest.raises(SampleCNNError, match="path of a model"):
        hear.load_model()


@pytest.mark.parametrize("seconds", [0.03, 0.1, 2.26])
def test_hear_timestamp_embeddings(hear_model, seconds):
    generator = torch.Generator().manual_seed(0)
    audio = torch.rand((4, int(seconds * RATE)), generator=generator) * 2 - 1
    embeddings, timestamps = hear.get_timestamp_embeddings(audio=audio, model=hear_model)
    assert embeddings.dtype == timestamps.dtype == torch.float32
    assert embeddings.ndim == 3 and embeddings.shape[0] == 4
    assert embeddings.shape[2] == hear_model.timestamp_embedding_size and embeddings.shape[:2] == timestamps.shape
    assert all(torch.equal(timestamps[0], row) for row in timestamps)
    assert (timestamps >= 0).all() and (timestamps <= seconds * 1000).all(), "milliseconds, within the sound"
    steps = torch.diff(timestamps[0])
    if len(steps):
        assert (steps > 0).all() and (steps - steps.mean()).abs().max() <= 1 and steps.mean() <= 50
        assert timestamps[0, 0] <= 55 and timestamps[0, -1] >= seconds * 1000 - 100
    shuffled = torch.tensor([2, 0, 3, 1])
    other, _ = hear.get_timestamp_embeddings(audio=audio[shuffled], model=hear_model)
    assert torch.allclose(other, embeddings[shuffled], atol=1e-5), "independent of the batch"
    alone, _ = hear.get_timestamp_embeddings(audio=audio[:1], model=hear_model)
    assert torch.allclose(alone[0], embeddings[0], atol=1e-5)


@pytest.mark.parametrize("seconds", [0.03, 2.26])
def test_hear_scene_embeddings(hear_model, seconds, embedding_tagger):
    audio = torch.rand((4, int(seconds * RATE)), generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = hear.get_scene_embeddings(audio=audio, model=hear_model)
    assert found.dtype == torch.float32 and found.shape == (4, hear_model.scene_embedding_size)
    alone = hear.get_scene_embeddings(audio=audio[1:2], model=hear_model)
    assert torch.allclose(alone[0], found[1], atol=1e-5)
    tags = embedding_tagger(audio[0].numpy(), sample_rate=RATE)
    np.testing.assert_allclose(tags.embedding, found[0].numpy(), atol=1e-4)


def test_hear_timestamps_are_where_the_sound_is(hear_model, sound):
    audio = torch.from_numpy(sound(("low", 1), ("high", 1)))[None]
    embeddings, timestamps = hear.get_timestamp_embeddings(audio, hear_model)
    low = hear.get_scene_embeddings(audio[:, :RATE], hear_model)[0]
    high = hear.get_scene_embeddings(audio[:, RATE:], hear_model)[0]
    nearer = (embeddings[0] - high).norm(dim=1) < (embeddings[0] - low).norm(dim=1)
    inner = (timestamps[0] > 150) & (timestamps[0] < 1850) & ((timestamps[0] - 1000).abs() > 130)
    assert torch.equal(nearer[inner], timestamps[0][inner] > 1000)


def test_hear_refuses_what_is_no_batch_of_sounds(hear_model):
    for audio in (torch.zeros(100), torch.zeros(1, 2, 100), torch.zeros(0, 100)):
        with pytest.raises(ValueError, match="sound"):
            hear.get_scene_embeddings(audio, hear_model)
    with pytest.raises(ValueError, match="load_model"):
        hear.get_scene_embeddings(torch.zeros(1, 100), torch.nn.Linear(1, 1))
