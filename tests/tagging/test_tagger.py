import io
import tarfile
import threading
import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from samplecnn import audio
from samplecnn.audio import cut, decode, to_int16
from samplecnn.errors import AudioError, SampleCNNError, UsageError
from samplecnn.evaluation import predict
from samplecnn.model_files import load
from samplecnn.models import ModelConfig, SampleCNN
from samplecnn.shards.arrow import ShardWriter, shard_name
from samplecnn.shards.arrow_segments import ArrowSegments
from samplecnn.system.read_ahead import THREAD_NAME
from samplecnn.tagging import Tagger, Tags
from samplecnn.task import Task


def test_tones_are_recognised_over_time(tagger, sound):
    tags = tagger(sound(("low", 0.5), ("high", 0.75), ("middle", 0.25)), sample_rate=8000)
    best = [tags.classes[index] for index in tags.over_time.argmax(axis=1)]
    assert best == ["low"] * 2 + ["high"] * 3 + ["middle"]
    assert tags.over_time.shape == (6, 3) and tags.over_time.dtype == tags.scores.dtype == np.float32
    np.testing.assert_allclose(tags.times, 0.25 * np.arange(6))
    np.testing.assert_allclose(tags.scores, tags.over_time.mean(axis=0), atol=1e-6)
    assert tags.seconds == 1.5 and not tags.silent
    assert [name for name, _ in tags.top(3)] == ["high", "low", "middle"]
    assert tags.top(1) == [("high", pytest.approx(float(tags.scores[2])))]


def test_above_uses_the_threshold_of_the_task_by_default(model, sound):
    low_bar = SampleCNN(model.config, replace(model.task, threshold=0.2)).eval()
    low_bar.load_state_dict(model.state_dict())
    wave = sound(("low", 0.5), ("high", 0.5))
    tags = Tagger(low_bar)(wave, sample_rate=8000)
    assert {name for name, _ in tags.above()} == {"low", "high"}
    assert tags.above(0.999) == [] and len(tags.above(0.0)) == 3
    with pytest.raises(UsageError):
        tags.top(0)


def test_tags_equal_the_model_on_the_decoded_waveform(model, tagger, folder):
    path = folder / "b-high.flac"  # 1.1 s at 44.1 kHz
    wave = decode(path, 8000)
    assert len(wave) == 8800
    windows = np.stack([wave[at : at + 2000] for at in (0, 2000, 4000, 6000, 6800)])
    with torch.inference_mode():
        wanted = model.probabilities(torch.from_numpy((windows - 0.001) / 0.3).float())
    tags = tagger(path)
    np.testing.assert_allclose(tags.over_time, wanted, atol=1e-4)  # samples are rounded to 16 bits, as in training
    np.testing.assert_allclose(tags.times, [0, 0.25, 0.5, 0.75, 0.85])
    assert tags.seconds == pytest.approx(1.1)


def test_path_text_open_file_and_array_give_the_same(tagger, folder):
    path = folder / "b-high.flac"
    wanted = tagger(path).over_time
    samples, rate = soundfile.read(path, dtype="float32")
    given = [str(path), io.BytesIO(path.read_bytes())]
    for source in given:
        np.testing.assert_array_equal(tagger(source).over_time, wanted)
    with path.open("rb") as file:
        np.testing.assert_array_equal(tagger(file).over_time, wanted)
    sixteen = soundfile.read(path, dtype="int16")[0]
    stereo = np.stack([samples, samples])
    for wave in (samples, samples.astype(np.float64), sixteen, stereo, stereo.T, torch.from_numpy(samples)):
        np.testing.assert_allclose(tagger(wave, sample_rate=rate).over_time, wanted, atol=1e-6)
    np.testing.assert_allclose(tagger(samples.tolist(), sample_rate=rate).over_time, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("source", "rate", "error", "message"),
    [
        (np.zeros(10), None, UsageError, "needs its sample rate"),
        ("x.wav", 8000, UsageError, "a file has its own"),
        (np.zeros(10), 0, UsageError, "whole number of Hz"),
        (np.zeros((2, 3, 4)), 8000, UsageError, r"float64 \[2, 3, 4\]"),
        (np.zeros(10, complex), 8000, UsageError, "real numbers"),
        (np.zeros(0), 8000, AudioError, "no samples"),
        (np.full(10, np.nan), 8000, AudioError, "NaN"),
        (np.full(10, 3e4), 8000, AudioError, "times full scale"),
        (io.BytesIO(b""), None, AudioError, "empty"),
    ],
)
def test_unusable_sources_are_refused(tagger, source, rate, error, message):
    with pytest.raises(error, match=message):
        tagger(source, sample_rate=rate)


def test_files_are_returned_in_order_with_their_errors(tagger, folder, broken):
    names = [
        "b-high.flac",
        *broken[:2],
        "a-low.wav",
        "missing.wav",
        "inner/d-high.mp3",
        *broken[2:],
        "inner/c-middle.ogg",
    ]
    paths = [folder / name for name in names]
    outcomes = list(tagger.tag_files(iter(paths)))
    assert [path for path, _ in outcomes] == paths
    best = {path.name: outcome.top(1)[0][0] for path, outcome in outcomes if isinstance(outcome, Tags)}
    assert best == {"b-high.flac": "high", "a-low.wav": "low", "d-high.mp3": "high", "c-middle.ogg": "middle"}
    errors = {path.name: str(outcome) for path, outcome in outcomes if isinstance(outcome, AudioError)}
    assert sorted(errors) == sorted([*broken, "missing.wav"])
    assert all(str(folder / name) in text for name, text in errors.items()), "every message names its file"


@pytest.mark.parametrize(("batch_size", "readers"), [(1, 1), (3, 2), (64, 4)])
def test_tags_do_not_depend_on_batches_readers_or_other_files(model, tagger, folder, batch_size, readers):
    paths = [folder / name for name in ("a-low.wav", "b-high.flac", "inner/c-middle.ogg")] * 3
    alone = [tagger(path).over_time for path in paths]
    together = Tagger(model, batch_size, readers=readers, precision="fp32").tag_files(paths)
    for wanted, (_, tags) in zip(alone, together, strict=True):
        np.testing.assert_allclose(tags.over_time, wanted, rtol=0, atol=1e-6)


def test_batches_run_across_files(model, tmp_path, sound, monkeypatch):
    from samplecnn.inference import Engine

    sizes = []
    real = Engine.columns
    monkeypatch.setattr(Engine, "columns", lambda self, batch: sizes.append(len(batch)) or real(self, batch))
    soundfile.write(tmp_path / "x.wav", sound(("low", 0.75)), 8000)
    assert len(list(Tagger(model, batch_size=8).tag_files([tmp_path / "x.wav"] * 9))) == 9
    assert sizes == [8, 8, 8, 3], "27 segments of 9 files"


def test_a_silent_recording_is_marked(tagger):
    assert tagger(np.zeros(5000), sample_rate=8000).silent
    assert not tagger(np.full(5000, 0.1), sample_rate=8000).silent


def test_a_recording_shorter_than_a_window_is_padded(tagger, sound):
    tags = tagger(sound(("high", 0.06)), sample_rate=8000)
    assert tags.over_time.shape == (1, 3) and tags.top(1)[0][0] == "high"
    assert tags.seconds == pytest.approx(0.06)


def test_models_from_disk_and_unusable_models(model, model_folder, tagger, sound, tmp_path):
    wave = sound(("low", 0.5))
    loaded = Tagger(model_folder, device="cpu", precision="fp32")
    np.testing.assert_allclose(loaded(wave, 8000).scores, tagger(wave, 8000).scores, atol=1e-6)
    assert loaded.classes == ("low", "middle", "high")
    with pytest.raises(UsageError, match="no such model"):
        Tagger(tmp_path / "nothing")
    with pytest.raises(UsageError, match="the model has no task"):
        Tagger(SampleCNN(ModelConfig("basic", num_blocks=3, num_classes=3, features=8)))
    with pytest.raises(UsageError, match="1 or more"):
        Tagger(model, batch_size=0)
    with pytest.raises(UsageError, match="cannot be used here"):
        Tagger(model, device="abacus")


def test_the_callers_code_between_files_does_not_run_in_inference_mode(model, folder):
    model.train()
    try:
        for _ in Tagger(model).tag_files([folder / "a-low.wav", folder / "b-high.flac"]):
            assert model.training and not torch.is_inference_mode_enabled()
    finally:
        model.eval()


def test_a_damaged_model_is_reported_as_such(model, sound):
    damaged = SampleCNN(model.config, model.task)
    with torch.no_grad():
        damaged.logit.bias[:] = float("nan")
    with pytest.raises(SampleCNNError, match="weights are damaged"):
        Tagger(damaged)(sound(("low", 0.5)), sample_rate=8000)


def test_stopping_early_stops_the_readers(tagger, folder):
    outcomes = tagger.tag_files(str(folder / "a-low.wav") for _ in range(10_000))
    next(outcomes)
    outcomes.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(THREAD_NAME)]


@pytest.mark.slow
def test_a_long_recording_takes_no_more_memory_than_a_short_one(tagger, tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    with soundfile.SoundFile(tmp_path / "long.wav", "w", 8000, 1) as file:
        for _ in range(10):
            file.write((0.1 * generator.normal(size=60 * 8000)).astype(np.float32))
    tagger(tmp_path / "long.wav")  # imports and caches

    def peak() -> float:
        tracemalloc.start()
        tags = tagger(tmp_path / "long.wav")
        assert tags.over_time.shape == (2400, 3) and tags.seconds == 600
        most = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        return most

    streamed = peak()
    monkeypatch.setattr(audio, "MAX_SINGLE_READ_SAMPLES", 1 << 30)
    assert streamed < 12 < 18 < peak(), "MiB; the decoded recording alone has 18"


@pytest.mark.slow
@pytest.mark.parametrize("slow", ["model", "reader", None])
def test_many_files_take_no_more_memory_than_few(tagger, folder, monkeypatch, slow):
    """With a slow model or slow readers, and any thread schedule: a file has 16 kB of samples, and 2 * readers are
    open.
    """
    from samplecnn.inference import Engine
    from samplecnn.tagging import tagger as module

    patched = {"model": (Engine, "columns"), "reader": (module, "stream")}.get(slow)
    if patched:
        real = getattr(*patched)
        monkeypatch.setattr(*patched, lambda *arguments: (time.sleep(0.001), real(*arguments))[1])

    def peak(count: int) -> int:
        tracemalloc.start()
        for _ in tagger.tag_files(str(folder / "a-low.wav") for _ in range(count)):
            pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(20)  # imports and caches
    file = 16_000  # bytes of float32
    bound = 2 * tagger.readers * 4 * file + 2 * tagger.batch_size * 2000 * 4 + 256_000
    assert peak(300) < bound < 300 * file / 2, "far less than all files"


def test_real_speech_is_tagged_by_a_model_of_the_original(shared, tmp_path):
    """A recording that the original's audio pipeline has processed, and the original's network."""
    pytest.importorskip("h5py")
    saved = shared / "interop" / "keras" / "scd-se.h5"
    tagger = Tagger(saved, device="cpu", precision="fp32")
    path = sorted((shared / "interop" / "tfrecord" / "audio").rglob("*.wav"))[0]
    tags = tagger(path)
    assert tags.over_time.shape[1] == 35 and tags.classes[0] == "backward"
    assert tags.scores.sum() == pytest.approx(1, abs=1e-5)
    wave = decode(path, 22050)
    task = tagger.task
    batch = torch.from_numpy((wave[None, :22050] - np.float32(task.mean)) / np.float32(task.std))
    with torch.inference_mode():
        np.testing.assert_allclose(tags.over_time[0], load(saved).probabilities(batch)[0], atol=1e-3)


def test_a_real_song_is_tagged_over_its_whole_length(shared):
    task = Task("mtt", tuple(map(str, range(50))), "multilabel", 22050, 59049, 29.0, -0.000165, 0.155)
    torch.manual_seed(0)
    tagger = Tagger(SampleCNN(ModelConfig("se", num_blocks=9, features=8), task))
    tags = tagger(shared / "data" / "joram-moments_of_clarity-08-solipsism-59-88.mp3")
    assert tags.over_time.shape == (11, 50), "ten windows and one that ends where the song ends"
    assert tags.seconds == pytest.approx(29.1, abs=0.2)
    assert tags.times[-1] == pytest.approx(tags.seconds - 59049 / 22050)


def test_tags_of_real_recordings_equal_those_of_the_evaluation(shared, tmp_path):
    """Five seconds of real sound at 44.1 kHz, once through the shards and `predict`, once through the tagger."""
    with tarfile.open(shared / "data" / "esc-10.tar") as tar:
        members = [member for member in tar if member.isfile()][::50]
        recordings = [tar.extractfile(member).read() for member in members]
    task = Task("esc", tuple("abcdefghij"), "multiclass", 16000, 16000, clip_seconds=5.0, mean=0.001, std=0.1)
    torch.manual_seed(1)
    model = SampleCNN(ModelConfig("basic", num_blocks=7, num_classes=10, features=8), task)
    with torch.no_grad():
        model.logit.weight *= 1000  # so that the scores of recordings differ
    with ShardWriter(tmp_path / shard_name("test", 1, 1), task) as writer:
        for number, recording in enumerate(recordings):
            wave = decode(io.BytesIO(recording), task.sample_rate, task.clip_seconds)
            writer.add(str(number), [0], to_int16(cut(wave, task)))
    tested = predict(model, ArrowSegments(tmp_path, "test")).y_prob
    assert tested.shape == (8, 10) and np.ptp(tested, axis=0).max() > 0.01
    tagger = Tagger(model, precision="fp32")
    for recording, wanted in zip(recordings, tested, strict=True):
        tags = tagger(io.BytesIO(recording))
        assert tags.over_time.shape == (5, 10)
        np.testing.assert_allclose(tags.scores, wanted, atol=1e-5)
