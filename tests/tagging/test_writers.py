import csv
import io
import json
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from pyarrow.parquet import read_table

from samplecnn.errors import AudioError, UsageError
from samplecnn.system.csv_cells import csv_row, csv_rows
from samplecnn.tagging import Tags
from samplecnn.tagging.done import Done
from samplecnn.tagging.events import EventRules
from samplecnn.tagging.formats import COLLECTIONS
from samplecnn.tagging.formats.collections import LongCsvWriter
from samplecnn.tagging.output import part_of, reserve
from samplecnn.tagging.writers import CsvWriter, JsonLinesWriter, JsonWriter, Selection, TableWriter
from samplecnn.task import Task

TASK = Task("t", ("dog", "cat, small", 'the "bird"'), "multilabel", 8000, 4000)
OVER_TIME = np.array([[0.25, 0.5, 0.1], [0.75, 0.5, 0.2], [0.5, 0.5, 0.3]], np.float32)
TAGS = Tags(TASK, OVER_TIME, np.array([0, 4000, 6000]), 10000)
SHORT = Tags(TASK, OVER_TIME[:1], np.array([0]), 1000)
ERROR = AudioError("b.wav: empty, 0 bytes")
ODD = "b\udce9b\u00e9\r\n.\rwav"  # a name that is not UTF-8, with an accent and line breaks


def written(kind, selection=None, outcomes=(("a.wav", TAGS), ("b.wav", ERROR), ("c.wav", SHORT)), **more) -> str:
    file = io.StringIO()
    writer = kind(file, selection or Selection(), TASK.classes, **more)
    for path, outcome in outcomes:
        writer.write(path, outcome)
    writer.end()
    return file.getvalue()


def test_json_lines():
    first, second, third = map(json.loads, written(JsonLinesWriter).splitlines())
    assert first == {"path": "a.wav", "seconds": 1.25, "tags": {"dog": 0.5, "cat, small": 0.5, 'the "bird"': 0.2}}
    assert list(first["tags"]) == ["dog", "cat, small", 'the "bird"'], "best first"
    assert second == {"path": "b.wav", "error": "empty, 0 bytes"}
    assert third["seconds"] == 0.125


def test_json_is_one_document_with_the_model_and_its_classes():
    about = {"model": "log/run", "task": "t"}
    document = json.loads(written(JsonWriter, about=about))
    assert {key: document[key] for key in about} == about
    assert document["classes"] == list(TASK.classes)
    assert document["files"] == [json.loads(line) for line in written(JsonLinesWriter).splitlines()]
    assert json.loads(written(JsonWriter, outcomes=()))["files"] == []


def test_csv_has_a_column_for_every_class():
    rows = list(csv.DictReader(io.StringIO(written(CsvWriter))))
    assert list(rows[0]) == ["path", "error", "silent", *TASK.classes]
    assert [float(rows[0][name]) for name in TASK.classes] == pytest.approx([0.5, 0.5, 0.2])
    assert rows[1]["error"] == "empty, 0 bytes" and rows[1]["dog"] == ""


def test_csv_columns_differ_whatever_the_classes_are_called():
    classes = ("path", "error", "start")
    for selection, expected in (
        (Selection(), ["path", "error", "silent", "path (class)", "error (class)", "start"]),
        (
            Selection(over_time=True),
            ["path", "start", "end", "error", "silent", *(f"{name} (class)" for name in classes)],
        ),
    ):
        file = io.StringIO()
        CsvWriter(file, selection, classes)
        assert next(csv.reader([file.getvalue()])) == expected


def test_silence_is_marked():
    silent = replace(TAGS, silent=True)
    for selection in (Selection(), Selection(over_time=True)):
        outcomes = (("a", silent), ("b", SHORT), ("c", ERROR))
        rows = list(csv.DictReader(io.StringIO(written(CsvWriter, selection, outcomes))))
        assert {row["path"]: row["silent"] for row in rows} == {"a": "true", "b": "false", "c": ""}
        lines = map(json.loads, written(JsonLinesWriter, selection, outcomes).splitlines())
        assert [line.get("silent") for line in lines] == [True, None, None]


FORMULAS = ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "'=1", "''-x"]


@pytest.mark.parametrize("name", FORMULAS)
def test_names_that_look_like_formulas_are_escaped_and_read_back(tmp_path, name):
    classes = ("dog", name)
    with reserve(tmp_path / "x.csv", CsvWriter) as output:
        with pytest.raises(KeyError), output.open(Done()) as file:
            writer = CsvWriter(file, Selection(), classes)
            for path in (name, "b.wav"):
                writer.write(path, ERROR)
            raise KeyError
        header, *rows = csv.reader(io.StringIO(part_of(tmp_path / "x.csv").read_bytes().decode(), newline=""))
        assert header[-1] == rows[0][0] == f"'{name}"
        done = output.read_done(Selection(), classes)
    assert list(done.errors) == [name]  # the last one is written again


@pytest.mark.parametrize("name", [*FORMULAS, "'tis", "''", "", "dog", "a=b", "犬"])
def test_every_text_reads_back_from_csv(name):
    line = csv_row([name, -0.5, name])
    assert list(csv_rows(io.StringIO(line, newline=""))) == [[name, "-0.5", name]]
    assert not re.search(r"(^|,)\"?[=+@\t\r]", line)


def test_the_table_escapes_control_characters():
    file = io.StringIO()
    odd = Task("t", ("dog\x1b[2J", "cat\n"), "multilabel", 8000, 4000)
    writer = TableWriter(file, Selection(), odd.classes, paths=["a\x07.wav"])
    writer.write("a\x07.wav", replace(TAGS, task=odd, over_time=OVER_TIME[:, :2]))
    writer.write("b\r.wav", AudioError("b\r.wav: of\x1bno use"))
    assert file.getvalue() == ("a\\x07.wav  0.500 dog\\x1b[2J  0.500 cat\\n\nb\\r.wav    error: of\\x1bno use\n")


@pytest.mark.parametrize(("encoding", "expected"), [("ascii", b"\\u2013\xff"), ("utf-8", b"\xe2\x80\x93\xff")])
def test_characters_missing_in_the_encoding_are_escaped_and_file_names_keep_their_bytes(
    monkeypatch, encoding, expected
):
    memory = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(memory, encoding=encoding, write_through=True))
    with reserve(None, TableWriter) as output, output.open(Done()) as file:
        file.write("–\udcff")
    assert memory.getvalue() == expected


def test_selections_leave_the_other_cells_of_csv_empty():
    rows = list(csv.DictReader(io.StringIO(written(CsvWriter, Selection(top=1)))))
    assert [rows[0][name] for name in TASK.classes] == ["0.500000", "", ""]
    rows = list(csv.DictReader(io.StringIO(written(CsvWriter, Selection(threshold=0.3)))))
    assert [rows[0][name] for name in TASK.classes] == ["0.500000", "0.500000", ""]


@pytest.mark.parametrize(
    ("selection", "names"),
    [
        (Selection(), ["dog", "cat, small", 'the "bird"']),
        (Selection(top=1), ["dog"]),
        (Selection(threshold=0.3), ["dog", "cat, small"]),
        (Selection(top=1, threshold=0.3), ["dog"]),
        (Selection(threshold=0.5), []),
    ],
)
def test_selections_in_json(selection, names):
    assert list(json.loads(written(JsonLinesWriter, selection).splitlines()[0])["tags"]) == names


def test_over_time():
    selection = Selection(over_time=True)
    first, _, third = map(json.loads, written(JsonLinesWriter, selection).splitlines())
    assert [(part["start"], part["end"]) for part in first["over_time"]] == [(0, 0.5), (0.5, 1), (0.75, 1.25)]
    assert first["over_time"][1]["tags"] == {"dog": 0.75, "cat, small": 0.5, 'the "bird"': 0.2}
    assert third["over_time"][0]["end"] == 0.125, "the end of the recording, not of the window"
    rows = list(csv.DictReader(io.StringIO(written(CsvWriter, selection))))
    assert list(rows[0])[:5] == ["path", "start", "end", "error", "silent"]
    assert [row["path"] for row in rows] == ["a.wav"] * 3 + ["b.wav", "c.wav"]
    assert (rows[2]["start"], rows[2]["end"], rows[2]["dog"]) == ("0.750", "1.250", "0.500000")
    assert len(written(TableWriter, selection).splitlines()) == 5


def test_the_table_is_aligned_and_shows_the_best(monkeypatch):
    text = written(TableWriter, paths=["a.wav", "b.wav", "longer.wav"])
    lines = text.splitlines()
    assert lines[0] == 'a.wav       0.500 dog         0.500 cat, small  0.200 the "bird"'
    assert lines[1] == "b.wav       error: empty, 0 bytes"
    monkeypatch.setenv("COLUMNS", "40")
    file = io.StringIO()
    file.isatty = lambda: True
    writer = TableWriter(file, Selection(), TASK.classes, paths=["a.wav", "b" * 255, "c" * 30])
    for path in writer.paths:
        writer.write(path, AudioError("no sound"))
    short, longest, long = file.getvalue().splitlines()
    assert short == f"{'a.wav':<20}  error: no sound" and long == f"{'c' * 30}  error: no sound"
    assert longest == f"{'b' * 20}…{'b' * 19}  error: no sound"
    assert written(TableWriter, Selection(threshold=0.9)).splitlines()[0] == "a.wav  –"
    many = Task("m", tuple(map(str, range(9))), "multilabel", 8000, 4000)
    tags = Tags(many, np.linspace(0, 0.9, 9, dtype=np.float32)[None], np.array([0]), 4000)
    file = io.StringIO()
    TableWriter(file, Selection(), many.classes).write("x", tags)
    assert len(file.getvalue().split()) == 1 + 2 * 5, "the five best by default"


@pytest.mark.parametrize("kind", [JsonLinesWriter, CsvWriter])
def test_every_recording_is_flushed(tmp_path, kind):
    with (tmp_path / "x").open("w") as file:
        writer = kind(file, Selection(), TASK.classes)
        for count in (1, 2, 3):
            writer.write("a.wav", TAGS)
            assert (tmp_path / "x").read_text().count("a.wav") == count


@pytest.mark.parametrize("name", COLLECTIONS)
def test_odd_file_names_survive(tmp_path, name):
    with reserve(tmp_path / "out", COLLECTIONS[name]) as output, output.open(Done()) as file:
        writer = COLLECTIONS[name](file, Selection(), TASK.classes)
        writer.write(ODD, TAGS)
        writer.end()
    content = (tmp_path / "out").read_bytes()
    if name == "json":
        assert json.loads(content)["files"][0]["path"] == ODD
    elif name == "jsonl":
        assert json.loads(content)["path"] == ODD
    elif name == "parquet":
        assert read_table(tmp_path / "out")["path"].to_pylist() == ["b\\udce9bé\r\n.\rwav"]
    else:
        text = rb"b\udce9b" + "é".encode() + rb"\r\n.\rwav"  # human-readable formats: control characters are escaped
        as_it_is = b"b\xe9b\xc3\xa9\r\n.\rwav"  # the bytes of the file system
        assert (text if name in ("table", "dcase") else as_it_is) in content


@pytest.mark.parametrize("name", COLLECTIONS)
def test_an_interruption_keeps_partial_output_of_resumable_formats_only(tmp_path, name):
    (tmp_path / "out").write_text("the last run's")
    with (
        pytest.raises(KeyboardInterrupt),
        reserve(tmp_path / "out", COLLECTIONS[name]) as output,
        output.open(Done()) as file,
    ):
        writer = COLLECTIONS[name](file, Selection(), TASK.classes)
        writer.write("a.wav", TAGS)
        writer.abandon()
        raise KeyboardInterrupt
    assert (tmp_path / "out").read_text() == "the last run's"
    kept = ["out", "out.part"] if name in ("jsonl", "csv", "csv-long") else ["out"]
    assert sorted(path.name for path in tmp_path.iterdir()) == kept


EVENTS = Selection(events=EventRules(0.3))


@pytest.mark.parametrize("kind", [JsonLinesWriter, CsvWriter, LongCsvWriter])
@pytest.mark.parametrize("selection", [Selection(), Selection(top=1), Selection(over_time=True), EVENTS])
def test_resuming_gives_the_same_bytes_after_any_interruption(tmp_path, kind, selection):
    outcomes = [("a.wav", TAGS), ("b.wav", ERROR), (ODD, TAGS), ("c.wav", SHORT), ("d.wav", TAGS)]

    def run(done: Done) -> bytes:
        with reserve(tmp_path / "out", kind) as output, output.open(done) as file:
            writer = kind(file, selection, TASK.classes, resuming=done.size > 0)
            for path, outcome in outcomes:
                if path not in done.errors:
                    writer.write(path, outcome)
            writer.end()
        return (tmp_path / "out").read_bytes()

    whole = run(Done())
    seen = set()
    for size in range(0, len(whole) + 1, 7):
        part_of(tmp_path / "out").write_bytes(whole[:size])
        with reserve(tmp_path / "out", kind) as output:
            done = output.read_done(selection, TASK.classes)
        seen.add(len(done.errors))
        assert all(error == ("empty, 0 bytes" if path == "b.wav" else "") for path, error in done.errors.items())
        assert run(done) == whole
    assert seen >= {0, 1, 2, 3}


def test_output_with_other_options_is_not_resumed(tmp_path):
    output = tmp_path / "out"

    def read(kind, selection, classes) -> Done:
        with reserve(output, kind) as reserved:
            return reserved.read_done(selection, classes)

    assert read(CsvWriter, Selection(), TASK.classes) == Done()
    with pytest.raises(UsageError, match="only jsonl and csv"):
        read(JsonWriter, Selection(), TASK.classes)
    assert not list(tmp_path.iterdir())
    for kind in (JsonLinesWriter, CsvWriter):
        part_of(output).write_text(written(kind))
        assert read(kind, Selection(), TASK.classes).size > 0
        for selection, classes in (
            (Selection(over_time=True), TASK.classes),
            (Selection(), (*TASK.classes, "fish")),
        ):
            with pytest.raises(UsageError, match=r"out\.part: written with other options or by another model"):
                read(kind, selection, classes)
        part_of(output).write_text("something else\n")
        with pytest.raises(UsageError, match="other options"):
            read(kind, Selection(), TASK.classes)


@pytest.mark.parametrize("name", COLLECTIONS)
def test_two_processes_do_not_write_one_output(tmp_path, name):
    output = tmp_path / "out"
    (tmp_path / "link").symlink_to(output)
    with reserve(output, COLLECTIONS[name]) as reserved, reserved.open(Done()) as file:
        file.write(b"the first one's" if COLLECTIONS[name].binary else "the first one's")
        for other in (output, tmp_path / "link"):
            with pytest.raises(UsageError, match="another `samplecnn tag` is writing it"), reserve(other, CsvWriter):
                pytest.fail("two at once")
    assert output.read_text() == "the first one's" and len(list(tmp_path.iterdir())) == 2
