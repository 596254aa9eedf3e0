"""Built data sets record their source; names that are taken, and sets replaced in use, are refused."""

import json
import pickle

import numpy as np
import pytest
import soundfile

import samplecnn
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.shards import open_split
from samplecnn.shards import segments as segments_module
from samplecnn.shards.identity import read_record

RATE, WINDOW = 8000, 729
OPTIONS = {"sample_rate": RATE, "window": WINDOW, "workers": 1, "progress": False}


@pytest.fixture
def site(tmp_path):
    """site(name, classes, seed, clips per class, samples) -> a folder of noise called NAME/audio."""

    def make(name: str, classes: tuple[str, ...] = ("a", "b"), seed: int = 0, clips: int = 12, samples: int = WINDOW):
        rng = np.random.default_rng(seed)
        folder = tmp_path / name / "audio"
        for kind in classes:
            (folder / kind).mkdir(parents=True)
            for index in range(clips):
                soundfile.write(folder / kind / f"{index}.wav", 0.1 * rng.standard_normal(samples), RATE)
        return folder

    return make


@pytest.mark.slow
def test_a_name_taken_by_another_source_is_refused(site, tmp_path):
    one, two = site("site1"), site("site2", ("cat", "dog"), 1)
    data = tmp_path / "data"
    samplecnn.build(one, data, **OPTIONS)
    with pytest.raises(UsageError) as caught:
        samplecnn.build(two, data, **OPTIONS)
    message = str(caught.value)
    assert str(one) in message and str(two) in message and "--data-dir" in message and "\n" not in message
    assert open_split(str(one), data, "train").task.classes == ("a", "b")
    with pytest.raises(UsageError, match="has the same name"):  # in the other format too
        samplecnn.build(two, data, format="tfrecord", **OPTIONS)
    report = samplecnn.build(two, data, force=True, **OPTIONS)
    assert any(str(one) in note for note in report.notes)
    assert open_split(str(two), data, "train").task.classes == ("cat", "dog")


def test_a_folder_and_a_manifest_with_the_same_stem_are_different_sources(site, tmp_path):
    folder = site("site1")
    manifest = tmp_path / "audio.csv"
    manifest.write_text(
        "path,labels\n" + "".join(f"{path},{path.parent.name}\n" for path in sorted(folder.glob("*/*.wav")))
    )
    samplecnn.build(folder, tmp_path / "data", **OPTIONS)
    with pytest.raises(UsageError, match=r"audio\.csv has the same name"):
        samplecnn.build(manifest, tmp_path / "data", **OPTIONS)


def test_an_interrupted_build_keeps_its_name(site, tmp_path):
    one, two = site("site1"), site("site2", seed=1)
    report = samplecnn.build(one, tmp_path / "data", **OPTIONS)
    building = report.folder.with_name("arrow.building")
    report.folder.rename(building)
    (building / "build.json").rename(building / "plan.json")
    with pytest.raises(UsageError, match="has the same name"):
        samplecnn.build(two, tmp_path / "data", **OPTIONS)
    assert building.is_dir()


def test_opening_by_path_checks_the_source(site, tmp_path, monkeypatch):
    one, two = site("site1"), site("site2", seed=1)
    data = tmp_path / "data"
    samplecnn.build(one, data, **OPTIONS)
    assert read_record(data / "audio" / "arrow").source == str(one)
    with pytest.raises(UsageError) as caught:
        open_split(str(two), data, "train")
    assert str(one) in str(caught.value) and str(two) in str(caught.value)
    with pytest.raises(UsageError, match="was built from"):  # a path with a typo
        open_split(str(tmp_path / "site3" / "audio"), data, "train")
    link = tmp_path / "audio"
    link.symlink_to(one)
    monkeypatch.chdir(tmp_path)
    for spec in (str(one), f"{one}/", "audio", "./audio"):
        assert len(open_split(spec, data, "train")) > 0
    link.unlink()
    assert len(open_split("audio", data, "train")) > 0  # the name alone accepts any source


def test_moved_recordings_are_the_same_source(site, tmp_path):
    one = site("site1")
    report = samplecnn.build(one, tmp_path / "data", **OPTIONS)
    moved = tmp_path / "moved" / "audio"
    moved.parent.mkdir()
    one.rename(moved)
    with pytest.raises(UsageError, match="was built from"):
        open_split(str(moved), tmp_path / "data", "train")
    assert samplecnn.build(moved, tmp_path / "data", **OPTIONS).already_built
    assert read_record(report.folder).source == str(moved)
    assert len(open_split(str(moved), tmp_path / "data", "train")) > 0


def test_shards_of_an_earlier_version_get_their_source_in_the_next_build(site, tmp_path):
    one = site("site1")
    report = samplecnn.build(one, tmp_path / "data", **OPTIONS)
    file = report.folder / "build.json"
    old = {key: value for key, value in json.loads(file.read_text()).items() if key not in ("source", "seed", "short")}
    file.write_text(json.dumps(old))
    record = open_split(str(one), tmp_path / "data", "train").record
    assert (record.source, record.short, record.fingerprint) == (None, None, old["fingerprint"])
    assert samplecnn.build(one, tmp_path / "data", **OPTIONS).already_built
    assert read_record(report.folder).source == str(one)


@pytest.mark.slow
def test_padded_clips_are_counted(site, tmp_path):
    short = samplecnn.build(site("site1", samples=WINDOW - 1), tmp_path / "data", **OPTIONS)
    assert read_record(short.folder).short == {split: count.clips for split, count in short.splits.items()}
    whole = samplecnn.build(site("site2"), tmp_path / "other", **OPTIONS)
    assert set(read_record(whole.folder).short.values()) == {0}


@pytest.mark.parametrize("format", ["arrow", "tfrecord"])
def test_a_set_replaced_in_use_never_gives_audio_of_another_clip(site, tmp_path, format, monkeypatch):
    """Labels are read when a split is opened, audio later: each segment is its own audio or an error."""
    monkeypatch.setattr(segments_module, "open_shards", lambda: 1)  # so that files are reopened often
    one, two = site("site1"), site("site2", seed=1)
    data = tmp_path / "data"
    samplecnn.build(one, data, format=format, **OPTIONS)
    segments = open_split(str(one), data, "train")
    expected = segments.gather(range(len(segments)))
    fresh = open_split(str(one), data, "train")
    pickled = pickle.dumps(segments)
    samplecnn.build(two, data, format=format, force=True, **OPTIONS)
    for each in (segments, fresh):
        for row in range(len(each)):
            try:
                assert np.array_equal(each.gather([row])[0], expected[row])
            except SampleCNNError as error:
                assert "built again" in str(error)  # the error or the right audio
    if format == "arrow":
        with pytest.raises(SampleCNNError, match="built again or removed while it was in use"):
            fresh.gather([0])
    with pytest.raises(SampleCNNError, match="built again or removed while it was in use"):
        pickle.loads(pickled)


@pytest.mark.slow
def test_a_set_replaced_while_it_is_opened(site, tmp_path, monkeypatch):
    from samplecnn.shards import arrow_segments

    one, two = site("site1"), site("site2", seed=1)
    data = tmp_path / "data"
    samplecnn.build(one, data, **OPTIONS)
    listed = arrow_segments._shards_of

    def replaced(folder, split):
        monkeypatch.setattr(arrow_segments, "_shards_of", listed)
        samplecnn.build(two, data, force=True, **OPTIONS)
        return listed(folder, split)

    monkeypatch.setattr(arrow_segments, "_shards_of", replaced)
    with pytest.raises(SampleCNNError, match="while it was in use"):
        open_split(str(one), data, "train")


def test_a_damaged_build_record(site, tmp_path):
    report = samplecnn.build(site("site1"), tmp_path / "data", **OPTIONS)
    for text in ("[]", "{", '{"fingerprint": 3}', '{"fingerprint": "a", "short": {"train": "x"}}', '{"source": "x"}'):
        (report.folder / "build.json").write_text(text)
        with pytest.raises(
            SampleCNNError, match=r"build\.json: .*(must be|is missing|not JSON).*; build again with --force"
        ) as caught:
            read_record(report.folder)
        assert "\n" not in str(caught.value)
