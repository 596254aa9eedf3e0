"""Output formats of tags, read back with small third-party readers if available, else checked by specification."""

import csv
import io
import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pyarrow.parquet
import pytest
import soundfile
import webvtt
from praatio import textgrid

from samplecnn.errors import AudioError, UsageError
from samplecnn.system.csv_cells import csv_rows
from samplecnn.system.files import write_bytes
from samplecnn.tagging.events import EventRules
from samplecnn.tagging.formats import COLLECTIONS, DOCUMENTS
from samplecnn.tagging.formats.collections import LongCsvWriter
from samplecnn.tagging.formats.documents import mirrored_paths
from samplecnn.tagging.formats.taggram import outline
from samplecnn.tagging.tags import Tags
from samplecnn.tagging.writers import Selection
from samplecnn.task import Task

CLASSES = ("dog", 'a <b> --> "c"', "犬")
TASK = Task("animals", CLASSES, "multilabel", 8000, 8000)
SCORES = np.array([[0.9, 0.1, 0.6], [0.1, 0.8, 0.7], [0.75, 0.1, 0.1], [0.1, 0.1, 0.2]], np.float32)
TAGS = Tags(TASK, SCORES, np.arange(4) * 8000, 32000)  # 4 s
# Its events: start, end, label, score.
EVENTS = [(0, 1, "dog", 0.9), (0, 2, "犬", 0.7), (1, 2, CLASSES[1], 0.8), (2, 3, "dog", 0.75)]
NONE = replace(TAGS, over_time=SCORES * 0)
ERROR = AudioError("in/b.wav: empty, 0 bytes")
ABOUT = {"model": "log/run", "provenance": {"samplecnn": "1", "model_sha256": "ab", "engine": "numpy"}}


def document(name: str, tags: Tags = TAGS, selection: Selection | None = None, path: str = "in/a.wav") -> str:
    return DOCUMENTS[name](selection or Selection(), ABOUT).content(path, tags).decode()


def collection(name, selection=None, outcomes=(("in/a.wav", TAGS), ("in/b.wav", ERROR), ("in/c.wav", NONE))):
    kind = COLLECTIONS[name]
    file = io.BytesIO() if kind.binary else io.StringIO()
    writer = kind(file, selection or Selection(), CLASSES, ABOUT, [path for path, _ in outcomes])
    for path, outcome in outcomes:
        writer.write(path, outcome)
    writer.end()
    return file.getvalue()


def test_audacity_labels():
    rows = [line.split("\t") for line in document("audacity").splitlines()]
    assert [(float(start), float(end)) for start, end, _ in rows] == [event[:2] for event in EVENTS]
    assert rows[0] == ["0.000000", "1.000000", "dog 0.90"] and rows[1][2] == "犬 0.70"
    assert document("audacity", NONE) == ""


def test_raven_selection_tables():
    rows = list(csv.DictReader(io.StringIO(document("raven")), delimiter="\t", quoting=csv.QUOTE_NONE))
    read = [(float(r["Begin Time (s)"]), float(r["End Time (s)"]), r["Tag"], float(r["Score"])) for r in rows]
    assert read == EVENTS
    assert [row["Selection"] for row in rows] == ["1", "2", "3", "4"]
    assert {(r["View"], r["Channel"], r["Low Freq (Hz)"], r["High Freq (Hz)"], r["Begin Path"]) for r in rows} == {
        ("Spectrogram 1", "1", "0.0", "4000.0", "in/a.wav")
    }


def test_captions_are_read_by_webvtt_py(tmp_path):
    for name, reader in (("vtt", webvtt.read), ("srt", webvtt.from_srt)):
        path = tmp_path / f"x.{name}"
        path.write_text(document(name), encoding="utf-8")
        captions = reader(str(path)).captions
        assert [(c.start_in_seconds, c.end_in_seconds) for c in captions] == [event[:2] for event in EVENTS]
        assert captions[0].text == "dog 0.90" and captions[1].text == "犬 0.70"
    assert "engine: numpy" in document("vtt") and "model_sha256: ab" in document("vtt")
    long = Tags(TASK, SCORES[:1], np.array([36_610_004 * 8]), 36_620_000 * 8)  # 10 h 10 min 10.004 s
    assert "10:10:10.004 --> 10:10:11.004\n" in document("vtt", long)
    assert document("srt", NONE) == "" and document("vtt", NONE).startswith("WEBVTT\n")


def test_text_grids_are_read_by_praatio(tmp_path):
    path = tmp_path / "x.TextGrid"
    path.write_text(document("textgrid"), encoding="utf-8")
    grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=True)
    assert (grid.minTimestamp, grid.maxTimestamp) == (0, 4)
    assert grid.tierNames == ("dog", "犬", CLASSES[1])
    dog = [(entry.start, entry.end, entry.label) for entry in grid.getTier("dog").entries]
    assert dog == [(0, 1, "dog 0.90"), (1, 2, ""), (2, 3, "dog 0.75"), (3, 4, "")]
    assert [entry.label for entry in grid.getTier(CLASSES[1]).entries] == ["", f"{CLASSES[1]} 0.80", ""]
    path.write_text(document("textgrid", NONE), encoding="utf-8")
    assert textgrid.openTextgrid(str(path), includeEmptyIntervals=True).tierNames == ("animals",)


def test_jams_has_the_fields_that_its_schema_requires():
    read = json.loads(document("jams"))
    assert set(read) == {"annotations", "file_metadata", "sandbox"}
    assert read["file_metadata"]["duration"] == 4 and read["file_metadata"]["jams_version"] == "0.3.5"
    [annotation] = read["annotations"]
    assert annotation["namespace"] == "tag_open" and annotation["sandbox"] == ABOUT
    assert set(annotation["annotation_metadata"]["curator"]) == {"name", "email"}
    data = [(e["time"], e["time"] + e["duration"], e["value"], e["confidence"]) for e in annotation["data"]]
    assert data == EVENTS


def test_dcase_and_kaleidoscope():
    rows = list(csv.DictReader(io.StringIO(collection("dcase")), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert [(r["filename"], float(r["onset"]), float(r["offset"]), r["event_label"]) for r in rows] == [
        ("in/a.wav", *event[:3]) for event in EVENTS
    ]
    inner = (("in/a.wav", TAGS), ("in/deep/b.wav", TAGS))
    rows = list(csv.DictReader(io.StringIO(collection("kaleidoscope", outcomes=inner))))
    assert [row["FOLDER"] for row in rows] == [""] * 4 + ["deep"] * 4
    assert rows[4]["INDIR"].endswith("/in") and rows[4]["IN FILE"] == "b.wav"
    read = [(float(r["OFFSET"]), float(r["DURATION"]), r["TOP1MATCH"], 1 - float(r["TOP1DIST"])) for r in rows[:4]]
    assert read == [(start, end - start, label, pytest.approx(score)) for start, end, label, score in EVENTS]


def test_long_csv():
    selection = Selection(events=EventRules())
    rows = list(csv_rows(io.StringIO(collection("csv-long", selection), newline="")))
    assert rows[0] == ["path", "start", "end", "class", "score", "error", "silent"]
    assert [(float(r[1]), float(r[2]), r[3], float(r[4])) for r in rows[1:5]] == EVENTS
    assert rows[5] == ["in/b.wav", "", "", "", "", "empty, 0 bytes", ""]
    assert rows[6] == ["in/c.wav", "0.000", "4.000", "", "", "", "false"], "a recording without events"
    whole = list(csv_rows(io.StringIO(collection("csv-long", Selection(top=1)), newline="")))
    assert whole[1] == ["in/a.wav", "0.000", "4.000", "dog", "0.462500", "", "false"]
    timed = list(csv_rows(io.StringIO(collection("csv-long", Selection(threshold=0.5, over_time=True)), newline="")))
    assert [row[1:4] for row in timed[1:4]] == [
        ["0.000", "1.000", "dog"],
        ["0.000", "1.000", "犬"],
        ["1.000", "2.000", CLASSES[1]],
    ]


def test_parquet():
    def read(selection=None):
        return pyarrow.parquet.read_table(io.BytesIO(collection("parquet", selection)))

    table = read()
    assert table.column_names == ["path", "seconds", "error", "silent", *CLASSES]
    rows = table.to_pylist()
    assert [rows[0][name] for name in CLASSES] == pytest.approx(list(TAGS.scores))
    assert rows[1]["error"] == "empty, 0 bytes" and rows[1]["dog"] is None and rows[0]["error"] is None
    about = json.loads(table.schema.metadata[b"samplecnn"])
    assert about == {**ABOUT, "classes": list(CLASSES)}
    timed = read(Selection(over_time=True, top=1)).to_pylist()
    assert [(row["start"], row["end"]) for row in timed[:4]] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert timed[0]["dog"] == pytest.approx(0.9) and timed[0]["犬"] is None
    events = read(Selection(events=EventRules())).to_pylist()
    assert [(r["start"], r["end"], r["class"], pytest.approx(r["score"])) for r in events[:4]] == EVENTS
    assert len(events) == 6 and events[5]["class"] is None and events[5]["path"] == "in/c.wav"


def test_events_in_json_and_the_table():
    selection = Selection(events=EventRules())
    first, second, third = map(json.loads, collection("jsonl", selection).splitlines())
    assert [tuple(event.values()) for event in first["events"]] == EVENTS
    assert "events" not in second and third["events"] == [] and "tags" in third
    lines = collection("table", selection).splitlines()
    assert lines[0].split() == ["in/a.wav", "0.00", "s", "1.00", "s", "0.900", "dog"] and len(lines) == 6
    top = Selection(top=1, events=EventRules(0.5))
    assert {event["label"] for event in json.loads(collection("jsonl", top).splitlines()[0])["events"]} == {"dog"}


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if name not in ("png", "svg")])
def test_names_cannot_break_a_document(name):
    odd = Task("t\n", ("x\n\t\x1b[2J", "ok"), "multilabel", 8000, 8000)
    tags = replace(TAGS, task=odd, over_time=SCORES[:, :2])
    text = document(name, tags, path="in/b\udce9b\n\t.wav")
    plain = replace(tags, task=replace(odd, name="t", classes=("x", "ok")))
    assert len(text.splitlines()) == len(document(name, plain).splitlines())
    assert "\x1b" not in text


def test_mirrored_paths_differ(tmp_path):
    files = [str(tmp_path / name) for name in ("a/x.wav", "a/x.mp3", "a/y.wav", "b/x.wav", "b/X.wav", "b/x.wav.mp3")]
    names = mirrored_paths(files)
    assert list(names.values()) == ["a/x.wav", "a/x.mp3", "a/y", "b/x.wav", "b/X.wav", "b/x.wav.mp3"]
    assert mirrored_paths(["-"]) == {"-": "stdin"}
    assert mirrored_paths([str(tmp_path / "a/x.wav")]) == {str(tmp_path / "a/x.wav"): "x"}


def test_the_longest_file_names_leave_room_for_suffixes(tmp_path):
    stems = ["x" * 251, "x" * 250 + "y", "犬" * 83, "x" * 180]
    names = mirrored_paths([str(tmp_path / "a" / f"{stem}.wav") for stem in stems])
    assert len(set(names.values())) == 4 and names[str(tmp_path / "a" / f"{stems[3]}.wav")] == stems[3]
    for kind in DOCUMENTS.values():
        document = kind(Selection(), ABOUT)
        for name in names.values():
            write_bytes(tmp_path / f"{name}{kind.suffix}", document.content("a.wav", TAGS) if not kind.needs else b"")
    assert len(list(tmp_path.iterdir())) == 4 * len(DOCUMENTS)


def test_an_outline_shows_level_and_pitch_at_their_times():
    time = np.arange(16000) / 8000
    wave = np.where(time < 1, 0.5 * np.sin(2 * np.pi * 1000 * time), 0.1 * np.sin(2 * np.pi * 3000 * time))
    whole = outline([wave.astype(np.float32)], 16000)
    pieces = outline(np.array_split(wave.astype(np.float32), 7), 16000)
    for one, other in zip(whole, pieces, strict=True):
        np.testing.assert_array_equal(one, other)
    columns = len(whole.high)
    first, second = slice(4, columns // 2 - 4), slice(columns // 2 + 4, columns - 4)
    assert whole.high[first] == pytest.approx(0.5, abs=0.01) and whole.low[second] == pytest.approx(-0.1, abs=0.01)
    assert set(whole.power[first].argmax(1)) == {64} and set(whole.power[second].argmax(1)) == {192}
    assert len(outline([np.ones(3, np.float32)], 3).low) == 1


def test_taggrams_are_pictures(tmp_path):
    path = str(tmp_path / "a.wav")
    soundfile.write(path, np.random.default_rng(0).normal(size=32000) * 0.1, 8000)
    picture = DOCUMENTS["png"](Selection(), ABOUT).content(path, TAGS)
    assert picture.startswith(b"\x89PNG") and b"engine: numpy" in picture
    drawing = DOCUMENTS["svg"](Selection(), ABOUT).content(path, TAGS)
    root = ElementTree.fromstring(drawing)
    assert root.tag.endswith("svg") and "engine: numpy" in "".join(root.itertext())
    with pytest.raises(UsageError, match="read twice"):
        DOCUMENTS["png"](Selection()).content("-", TAGS)


def test_long_csv_is_resumable_and_its_header_differs_from_csv():
    assert LongCsvWriter.resumable and LongCsvWriter.header(Selection(notes=True), CLASSES)[-1] == "note"
