"""An index is brought up to date: what is run through the model, what is recognised, what is refused."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from samplecnn.errors import AudioError, UsageError
from samplecnn.index import read_index
from samplecnn.index import update_index as update_index_by
from samplecnn.index.packing import SCORE_ERROR
from samplecnn.index.reader import Index
from samplecnn.system.locks import locked
from samplecnn.tagging import Tagger


def update_index(*arguments, engine="numpy", precision="auto", **options):
    """The quickest engine to start, and for a new index no measuring of the machine."""
    is_new = not Path(arguments[0]).joinpath("settings.json").exists()
    precision = "fp32" if is_new and precision == "auto" else precision
    return update_index_by(*arguments, engine=engine, precision=precision, **options)


def counts(report) -> dict[str, int]:
    names = ("new", "changed", "moved", "copies", "touched", "restored", "deleted", "unchanged", "failed")
    return {name: getattr(report, name) for name in names if getattr(report, name)}


@pytest.fixture
def heard(monkeypatch) -> list[str]:
    """The names of the files that are run through a model."""
    names: list[str] = []
    tag_files = Tagger.tag_files

    def record(self, paths):
        for path, outcome in tag_files(self, paths):
            names.append(Path(path).name)
            yield path, outcome

    monkeypatch.setattr(Tagger, "tag_files", record)
    return names


def test_an_index_holds_what_the_tagger_gives(index, model, sounds):
    """Scores of recordings exactly; windows and embeddings within the bounds that are documented."""
    tagger = Tagger(model, engine="numpy", precision="fp32", hop=0.05, embedding="hidden")
    known = read_index(index)
    assert known.classes == tagger.classes and len(known.paths) == 11
    for path, tags in known.outcomes(known.select(), embeddings=True):
        if path.endswith("broken.wav"):
            assert isinstance(tags, AudioError) and "not audio" in str(tags)
            continue
        wanted = tagger(path)
        np.testing.assert_allclose(tags.scores, wanted.scores, atol=1e-6)
        np.testing.assert_array_equal(tags.starts, wanted.starts)
        np.testing.assert_allclose(tags.over_time, wanted.over_time, atol=SCORE_ERROR + 1e-6)
        bound = np.ptp(wanted.embeddings, axis=1, keepdims=True) / 510
        assert (abs(tags.embeddings - wanted.embeddings) <= bound * 1.001 + 1e-6).all()
        assert (tags.samples, tags.seconds, tags.silent) == (wanted.samples, wanted.seconds, False)
        np.testing.assert_allclose(tags.ends, wanted.ends)


def test_a_second_update_runs_nothing_and_opens_no_model(index, heard, monkeypatch):
    before = {path.name: path.stat().st_mtime_ns for path in index.iterdir()}
    monkeypatch.setattr("samplecnn.index.update.network", lambda model: pytest.fail("the model is opened"))
    assert counts(update_index(index)) == {"unchanged": 11, "failed": 1}
    assert heard == [] and {path.name: path.stat().st_mtime_ns for path in index.iterdir()} == before


def test_only_new_and_changed_files_are_run(index, sounds, noise, heard, rows):
    before = rows(index)
    noise(sounds / "c" / "new.wav", 50)
    noise(sounds / "a" / "1.wav", 51, 0.7)
    (sounds / "a" / "2.wav").rename(sounds / "moved.wav")
    shutil.copy(sounds / "b" / "6.wav", sounds / "copy.wav")
    (sounds / "a" / "3.wav").unlink()
    os.utime(sounds / "a" / "4.wav", (1, 1))
    report = update_index(index)
    wanted = {"new": 1, "changed": 1, "moved": 1, "copies": 1, "touched": 1, "deleted": 1, "unchanged": 7, "failed": 1}
    assert counts(report) == wanted and sorted(heard) == ["1.wav", "new.wav"]
    after, known = rows(index), read_index(index)
    names = {str(sounds / name): name for name in ("a/2.wav", "moved.wav", "copy.wav", "b/6.wav", "a/3.wav")}
    assert set(after) == (set(before) | {str(sounds / name) for name in ("c/new.wav", "moved.wav", "copy.wav")}) - {
        str(sounds / "a/2.wav")
    }
    scores = {names[path]: known.scores[row] for path, row in known.rows.items() if path in names}
    np.testing.assert_array_equal(scores["copy.wav"], scores["b/6.wav"])
    assert after[str(sounds / "moved.wav")][-3:] == before[str(sounds / "a/2.wav")][-3:]
    assert known.deleted.sum() == 1 and known.paths[int(known.deleted.argmax())] == str(sounds / "a/3.wav")
    assert known.select().tolist() == np.flatnonzero(~known.deleted).tolist()


def test_a_deleted_file_that_comes_back_is_restored(index, sounds, heard, rows):
    before = rows(index)
    shutil.move(sounds / "a", sounds.parent / "elsewhere")
    assert counts(update_index(index)) == {"deleted": 5, "unchanged": 6, "failed": 1}
    shutil.move(sounds.parent / "elsewhere", sounds / "a")
    assert counts(update_index(index)) == {"restored": 5, "unchanged": 6, "failed": 1}
    assert heard == [] and rows(index) == before
    shutil.move(sounds / "a", sounds / "z")
    (sounds / "b").rename(sounds / "y")
    assert counts(update_index(index)) == {"moved": 11} and heard == []
    assert sorted(path.rsplit("/", 2)[1] for path in read_index(index).paths) == ["y"] * 6 + ["z"] * 5


def test_files_below_other_paths_are_left_alone(index, sounds, noise):
    shutil.rmtree(sounds / "a")
    noise(sounds / "b" / "new.wav", 60)
    assert counts(update_index(index, None, [sounds / "b"])) == {"new": 1, "unchanged": 6, "failed": 1}
    assert read_index(index).deleted.sum() == 0
    assert counts(update_index(index)) == {"deleted": 5, "unchanged": 7, "failed": 1}


def test_two_files_that_swap_their_names(index, sounds, heard):
    scores = {path: read_index(index).scores[row] for path, row in read_index(index).rows.items()}
    one, two = sounds / "a" / "1.wav", sounds / "b" / "7.wav"
    one.rename(sounds / "x")
    two.rename(one)
    (sounds / "x").rename(two)
    update_index(index)
    after = read_index(index)
    assert heard == []
    np.testing.assert_array_equal(after.scores[after.rows[str(one)]], scores[str(two)])
    np.testing.assert_array_equal(after.scores[after.rows[str(two)]], scores[str(one)])


def test_a_file_that_cannot_be_used_is_tried_again_when_it_changes_or_on_request(index, sounds, noise, heard):
    assert counts(update_index(index, retry=True))["changed"] == 1 and heard == ["broken.wav"]
    noise(sounds / "b" / "broken.wav", 70)
    report = update_index(index)
    assert report.changed == 1 and not report.tagged.failed and not read_index(index).failed.any()


def test_equal_new_files_are_run_once(tmp_path, model, noise, heard):
    noise(tmp_path / "s" / "a.wav", 1)
    for name in ("b", "c"):
        shutil.copy(tmp_path / "s" / "a.wav", tmp_path / "s" / f"{name}.wav")
    report = update_index(tmp_path / "i", model, [tmp_path / "s"])
    assert counts(report) == {"new": 1, "copies": 2} and heard == ["a.wav"]
    assert len(set(read_index(tmp_path / "i").files()["recording"].to_pylist())) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"hop": 0.02}, "made with --hop 0.05, not 0.02"),
        ({"precision": "bf16"}, "made with --precision fp32, not bf16"),
        ({"embedding_layer": "2"}, "made with --embedding-layer hidden, not 2"),
        ({"accept_truncated": True}, "made with --accept-truncated False, not True"),
    ],
)
def test_other_options_are_refused_with_both_values(index, options, said):
    with pytest.raises(UsageError, match=said):
        update_index(index, **options)


def test_another_model_is_refused_with_both_names(index, model, other_model, sounds, noise):
    with pytest.raises(UsageError) as caught:
        update_index(index, other_model)
    assert str(model) in str(caught.value) and str(other_model) in str(caught.value)
    assert counts(update_index(index, model))["unchanged"] == 11
    noise(sounds / "new.wav", 80)
    weights = (model / "model.safetensors").read_bytes()
    try:
        shutil.copy(other_model / "model.safetensors", model)
        shutil.copy(model / "config.json", model / "kept.json")
        shutil.copy(other_model / "config.json", model)
        with pytest.raises(UsageError, match="made with the model"):
            update_index(index)  # the index's own model has been replaced
    finally:
        (model / "model.safetensors").write_bytes(weights)
        (model / "kept.json").replace(model / "config.json")
    assert counts(update_index(index))["new"] == 1


def test_what_is_refused_leaves_nothing_behind(tmp_path, model, sounds):
    place = tmp_path / "new.index"
    for arguments, said in (
        ((place, model), "needs a model"),
        ((place, None, [sounds]), "needs a model"),
        ((place, tmp_path / "none", [sounds]), "none"),
        ((place, model, [tmp_path / "nowhere"]), "no such file or folder"),
        ((place, model, ["-"]), "can be read again"),
        ((place, model, [model]), "no recording there"),
        ((sounds, model, [sounds]), "is not an index"),
    ):
        with pytest.raises(UsageError, match=said):
            update_index(*arguments)
        assert not place.exists()
    with pytest.raises(UsageError, match="no such index"):
        read_index(place)
    with pytest.raises(UsageError, match="not an index"):
        read_index(sounds)


def test_one_update_at_a_time(index):
    with locked(index, "busy"), pytest.raises(UsageError, match="another `samplecnn index update`"):
        update_index(index)


def test_names_that_are_not_utf8(tmp_path, model, noise):
    name = os.fsdecode(b"caf\xe9.wav")
    noise(tmp_path / "s" / "x.wav", 1).rename(tmp_path / "s" / name)
    update_index(tmp_path / "i", model, [tmp_path / "s"])
    known = read_index(tmp_path / "i")
    assert known.paths == [str(tmp_path / "s" / name)] and known.files()["path"][0].as_py().endswith("caf\\udce9.wav")
    assert counts(update_index(tmp_path / "i")) == {"unchanged": 1}


def test_an_interrupted_update_keeps_what_is_done(index, sounds, noise, monkeypatch, rows, tmp_path, model):
    """As Ctrl-C does: what was tagged is in the index, and the next update runs only the rest."""
    for number in range(20):
        noise(sounds / "c" / f"{number:02d}.wav", 100 + number)
    tag_files = Tagger.tag_files

    def interrupted(self, paths):
        for number, found in enumerate(tag_files(self, paths)):
            if number == 7:
                raise KeyboardInterrupt
            yield found

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Tagger, "tag_files", interrupted)
        update_index(index)
    assert len(read_index(index).paths) == 11 + 7
    assert counts(update_index(index)) == {"new": 13, "unchanged": 18, "failed": 1}
    update_index(tmp_path / "whole.index", model, [sounds], hop=0.05, engine="numpy", precision="fp32")
    assert rows(index).keys() == rows(tmp_path / "whole.index").keys()


def test_an_interrupted_first_update_is_continued_without_paths(tmp_path, model, sounds, monkeypatch):
    """The paths, and what made the index, are kept before the first recording is."""
    tag_files, place = Tagger.tag_files, tmp_path / "new.index"

    def interrupted(self, paths):
        for number, found in enumerate(tag_files(self, paths)):
            if number == 3:
                raise KeyboardInterrupt
            yield found

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Tagger, "tag_files", interrupted)
        update_index(place, model, [sounds])
    kept = read_index(place)
    assert (len(kept.paths), kept.settings.roots, kept.settings.made_by["engine"]) == (3, (str(sounds),), "numpy")
    assert counts(update_index(place)) == {"new": 8, "unchanged": 3}
    about = json.loads(parquet.read_schema(place / "files.parquet").metadata[b"samplecnn"])
    assert about["provenance"] == kept.settings.made_by and about["provenance"]["decoder"]
    settings = json.loads((place / "settings.json").read_text())
    (place / "settings.json").write_text(json.dumps({**settings, "roots": []}))  # killed before it kept them
    with pytest.raises(UsageError, match="name the files and folders"):
        update_index(place)


def test_parts_of_bounded_size(tmp_path, model, sounds, monkeypatch, rows):
    """However the recordings fall into parts, the index holds the same, and windows are found across row groups."""
    options = {"hop": 0.05, "engine": "numpy", "precision": "fp32", "batch_size": 1}
    update_index(tmp_path / "one", model, [sounds], **options)
    monkeypatch.setattr("samplecnn.index.new_files.PART_BYTES", 2000)
    monkeypatch.setattr("samplecnn.index.part_writer.GROUP_CELLS", 1)
    update_index(tmp_path / "many", model, [sounds], **options)
    assert len(list((tmp_path / "many").glob("windows-*"))) > 3
    assert rows(tmp_path / "one") == rows(tmp_path / "many")
    assert not list((tmp_path / "many").glob("files-*")) and not list((tmp_path / "many").glob("journal-*"))


def test_parts_are_merged_and_emptied(index, sounds, noise, monkeypatch, rows, tmp_path, model):
    """After many small updates there are few parts; one that is mostly unused is rewritten. Nothing else changes."""
    monkeypatch.setattr("samplecnn.index.compaction.SMALL_PARTS", 3)
    for number in range(5):
        noise(sounds / "c" / f"{number}.wav", 60 + number)
        before = rows(index)
        update_index(index)
        after = rows(index)
        assert {path: after[path] for path in before} == before and len(after) == len(before) + 1
    update_index(index)
    assert len(list(index.glob("windows-*"))) <= 3
    monkeypatch.setattr("samplecnn.index.compaction.SMALL_PARTS", 100)
    for number in range(9):
        noise(sounds / ("a" if number < 5 else "b") / f"{number}.wav", 20 + number)
    update_index(index)
    update_index(index)
    stored = sum(len(np.load(path)) for path in index.glob("embeddings-*"))
    used = {(place["recording"], place["windows"]) for place in read_index(index).table.to_pylist()}
    assert stored == sum(windows for _, windows in used)


def test_windows_of_files_that_are_gone_are_left_out(index, sounds):
    whole = sum(table.num_rows for table in read_index(index).windows())
    gone = read_index(index).table["windows"][read_index(index).rows[str(sounds / "a" / "1.wav")]].as_py()
    (sounds / "a" / "1.wav").unlink()
    update_index(index)
    assert sum(table.num_rows for table in read_index(index).windows()) == whole - gone


def test_a_damaged_index_is_named(index):
    part = next(index.glob("windows-*"))
    part.write_bytes(part.read_bytes()[:100])
    known = Index(index)
    with pytest.raises(UsageError, match=part.name):
        list(known.outcomes(known.select()))
    (index / "files.parquet").write_bytes(b"no")
    with pytest.raises(UsageError, match=r"files\.parquet"):
        read_index(index)
    (index / "settings.json").write_text("{}")
    with pytest.raises(UsageError, match=r"settings\.json"):
        read_index(index)
