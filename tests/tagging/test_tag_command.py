import csv
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from samplecnn.cli.app import app
from samplecnn.errors import AudioError, UsageError
from samplecnn.tagging.find import find_files
from samplecnn.tagging.report import MAX_LISTED_FILES, TagReport
from samplecnn.tagging.tag_files import tag_paths
from samplecnn.tagging.writers import Selection

GOOD = ["a-low.wav", "b-high.flac", "inner/c-middle.ogg", "inner/d-high.mp3"]


def test_files_are_found_in_folders_sorted_and_once(folder, broken):
    found = find_files([folder / "b-high.flac", folder, folder / "inner" / "notes.txt"]).files
    names = [os.path.relpath(path, folder) for path in found]
    in_folder = ["a-low.wav", *broken, "inner/c-middle.ogg", "inner/d-high.mp3"]
    assert names == ["b-high.flac", *in_folder, "inner/notes.txt"], "hidden files skipped, given files kept"
    assert find_files([folder / "missing.wav", folder / "a-low.wav"]).files[0].endswith("missing.wav")
    with pytest.raises(UsageError, match="no recordings found"):
        find_files([folder / "missing.wav", folder / "inner" / ".hidden" / "nothing"])
    with pytest.raises(UsageError, match="no recordings found"):
        find_files([folder / "j-folder.wav"])


def test_a_table_of_a_folder_with_broken_files(run, folder, broken):
    outcome = run(folder)
    assert outcome.exit_code == 1, "files failed"
    lines = outcome.stdout.splitlines()
    assert len(lines) == len(GOOD) + len(broken)
    best = {line.split()[0]: line.split()[2] for line in lines if "error:" not in line}
    assert best == {
        str(folder / name): pitch for name, pitch in zip(GOOD, ["low", "high", "middle", "high"], strict=True)
    }
    assert f"{len(broken)} of {len(lines)} files could not be tagged" in outcome.stderr
    for name in broken:
        assert f"{folder / name}: " in outcome.stderr


def test_success_is_exit_code_0_with_one_line_on_stderr(run, folder):
    outcome = run(*(folder / name for name in GOOD), "--engine", "torch", "--precision", "fp32")
    assert (outcome.exit_code, outcome.stderr) == (0, "engine torch, fp32\n")


def test_formats_parse_back_and_agree(run, folder):
    paths = [str(folder / name) for name in (*GOOD[:2], "e-empty.wav")]
    lines = [json.loads(line) for line in run(*paths, "--format", "jsonl").stdout.splitlines()]
    document = json.loads(run(*paths, "--format", "json").stdout)
    rows = list(csv.DictReader(run(*paths, "--format", "csv").stdout.splitlines()))
    assert document["files"] == lines and document["task"] == "tones"
    assert [line["path"] for line in lines] == [row["path"] for row in rows] == paths
    for line, row in zip(lines[:2], rows, strict=False):
        assert {name: float(row[name]) for name in ("low", "middle", "high")} == pytest.approx(line["tags"])
    assert lines[2]["error"] == rows[2]["error"] and "empty" in lines[2]["error"]


def test_top_threshold_and_over_time(run, folder):
    path = folder / "b-high.flac"

    def tags(*options):
        return json.loads(run(path, "--format", "jsonl", *options).stdout)

    assert len(tags()["tags"]) == 3 and list(tags("--top", 1)["tags"]) == ["high"]
    assert list(tags("--threshold", 0.5)["tags"]) == ["high"] and tags("--threshold", 1)["tags"] == {}
    assert "over_time" not in tags() and len(tags("--over-time")["over_time"]) == 5
    assert run(path, "--top", 2).stdout.count("0.") == 2
    assert run(path, "--top", 0).exit_code == 2 and run(path, "--threshold", 1.5).exit_code == 2
    assert run(path, "--format", "xml").exit_code == 2


def test_output_goes_to_the_file_only(run, folder, tmp_path, refused):
    for name in ("table", "json", "jsonl", "csv"):
        output = tmp_path / "new" / f"tags.{name}"
        outcome = run(folder / "a-low.wav", "--format", name, "--output", output)
        assert (outcome.exit_code, outcome.stdout) == (0, "")
        assert output.read_text() == run(folder / "a-low.wav", "--format", name).stdout
    written = {f"tags.{name}" for name in ("table", "json", "jsonl", "csv")}
    about = {f"tags.{name}.about.json" for name in ("table", "jsonl", "csv")}  # JSON contains it
    assert {path.name for path in (tmp_path / "new").iterdir()} == written | about, "no partial files remain"
    assert "is a folder" in refused(run(folder / "a-low.wav", "--output", tmp_path))


def test_batch_size_and_device(run, folder, monkeypatch, refused):
    from samplecnn.inference import Engine

    sizes = []
    real = Engine.columns
    monkeypatch.setattr(Engine, "columns", lambda self, batch: sizes.append(len(batch)) or real(self, batch))
    wanted = run(folder / "b-high.flac").stdout
    assert run(folder / "b-high.flac", "--batch-size", 2, "--device", "cpu").stdout == wanted
    assert sizes == [5, 2, 2, 1]
    assert "cannot be used" in refused(run(folder / "b-high.flac", "--device", "abacus"))
    assert run(folder / "b-high.flac", "--batch-size", 0).exit_code == 2


def test_missing_paths(run, folder, refused):
    outcome = run(folder / "missing.wav", folder / "a-low.wav")
    assert outcome.exit_code == 1
    first, second = outcome.stdout.splitlines()
    assert "error: no such file" in first and "low" in second
    assert "missing.wav: no recordings found" in refused(run(folder / "missing.wav"))
    both = CliRunner().invoke(app, ["tag", str(folder / "no-model"), str(folder / "missing.wav")])
    assert "no-model: there is no such model" in refused(both)
    assert UsageError.exit_code == 2


def test_silence_is_warned_about(run, tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(8000), 8000)
    outcome = run(tmp_path / "silent.wav")
    assert outcome.exit_code == 0 and len(outcome.stdout.splitlines()) == 1
    assert (
        "\nwarning: 1 file with only silence, so the tags are meaningless" in outcome.stderr
        and "silent.wav" in outcome.stderr
    )


def test_channels_that_cancel_are_warned_about(run, tmp_path):
    sound = np.random.default_rng(0).uniform(-0.3, 0.3, 8000)
    soundfile.write(tmp_path / "inverted.wav", np.stack([sound, -sound], 1), 8000)
    soundfile.write(tmp_path / "left.wav", np.stack([sound, 0 * sound], 1), 8000)
    outcome = run(tmp_path, "--format", "jsonl")
    inverted, left = map(json.loads, outcome.stdout.splitlines())
    assert "notes" not in left and any("cancel each other out" in note for note in inverted["notes"])
    assert "warning: 1 file with channels that cancel in their mean" in outcome.stderr
    assert "inverted.wav" in outcome.stderr and "silence" not in outcome.stderr


def test_damaged_recordings_are_tagged_in_part_on_request(run, folder, tmp_path):
    data = (folder / "a-low.wav").read_bytes()
    cut = tmp_path / "cut.wav"
    cut.write_bytes(data[: len(data) * 3 // 4])
    assert run(cut).exit_code == 1
    outcome = run(cut, "--accept-truncated")
    assert outcome.exit_code == 0 and "kept" in outcome.stdout
    assert "warning: 1 file tagged only in part" in outcome.stderr and "cut.wav: kept" in outcome.stderr
    record = json.loads(run(cut, "--accept-truncated", "--format", "jsonl").stdout)
    assert record["notes"][0].startswith(f"kept {record['seconds']:.2f} s; cut short") and record["tags"]
    (row,) = csv.DictReader(run(cut, "--accept-truncated", "--format", "csv").stdout.splitlines())
    assert row["note"] == record["notes"][0] and row["error"] == ""


def test_control_characters_in_names_are_escaped(run, model_folder, folder, tmp_path, monkeypatch):
    odd = tmp_path / "a\x9b2J\u202e.wav"
    odd.write_bytes((folder / "a-low.wav").read_bytes())
    options = ("--engine", "numpy", "--format")
    assert run(odd, *options, "jsonl").stdout.rstrip("\n").isprintable()
    assert json.loads(run(odd, *options, "jsonl").stdout)["path"] == str(odd)
    assert str(odd) in run(odd, *options, "csv").stdout, "read back as it is"

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for name in ("csv", "table", "audacity"):
        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal)
        tag_paths(model_folder, [odd], name, selection=Selection(), engine="numpy")
        monkeypatch.undo()
        shown = terminal.getvalue()
        assert shown and all(line.replace("\t", "").isprintable() for line in shown.splitlines()), name


def test_decoder_messages_are_attributed_to_their_files(root, model_folder, folder, tmp_path):
    """mpg123 writes them to the standard error of the process, which reads several files at a time."""
    data = (folder / "inner" / "d-high.mp3").read_bytes()
    half = tmp_path / "half.mp3"
    half.write_bytes(data[: len(data) // 2])
    whole = [tmp_path / f"whole{number}.mp3" for number in range(3)]
    for path in whole:
        path.write_bytes(data)
    files = map(str, [*whole[:2], half, whole[2]])
    program = [sys.executable, "-m", "samplecnn", "tag", str(model_folder), *files, "--accept-truncated"]
    done = subprocess.run(program, capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    at = lines.index("warning: decoder messages:")
    assert lines[at + 1].startswith(f"  {half}: Warning: Xing stream size off")
    assert not any(line.startswith("Warning: Xing") for line in lines)


def test_long_lists_of_failures_are_shortened():
    report = TagReport(2000, [(f"{n}.wav", "empty") for n in range(1000)])
    (text,) = report.lines()
    assert text.startswith("1,000 of 2,000 files") and len(text.splitlines()) == 1 + MAX_LISTED_FILES + 1
    assert text.endswith("and 990 more")
    short = TagReport(limit=MAX_LISTED_FILES)
    for number in range(1000):
        short.add(f"{number}.wav", AudioError(f"{number}.wav: empty"))
    assert short.lines() == [text.replace("2,000", "1,000")] and len(short.failed) == MAX_LISTED_FILES


@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-5), ("bf16", 0.02)])
def test_a_few_recordings_need_no_pytorch(run, model_folder, folder, monkeypatch, precision, bound):
    """Imports dominate the time for a single recording."""
    monkeypatch.setenv("SAMPLECNN_AUTO_PRECISION", precision)
    hidden = "import sys; sys.modules.update(torch=None, numba=None); from samplecnn.cli.app import main; main()"
    words = ["tag", str(model_folder), *(str(folder / name) for name in GOOD), "--format", "json"]
    done = subprocess.run([sys.executable, "-c", hidden, *words], capture_output=True, text=True)
    wanted = run(*words[2:], "--engine", "torch", "--precision", precision)
    assert (done.returncode, wanted.stderr) == (0, f"engine torch, {precision}\n")
    for file, other in zip(json.loads(done.stdout)["files"], json.loads(wanted.stdout)["files"], strict=True):
        assert file["path"] == other["path"] and file["tags"] == pytest.approx(other["tags"], abs=bound)


@pytest.mark.parametrize("engine", ["numpy", "openvino", "onnx"])
def test_engines_agree_and_are_named(run, folder, engine):
    from samplecnn.inference import ENGINES

    if not ENGINES[engine].installed:
        pytest.skip(f"{engine} is not installed")
    exact = json.loads(run(folder, "--engine", "torch", "--precision", "fp32", "--format", "json").stdout)
    outcome = run(folder, "--engine", engine, "--precision", "fp32", "--format", "json")
    document = json.loads(outcome.stdout)
    assert (document["engine"], document["precision"]) == (engine, "fp32")
    assert outcome.stderr.startswith(f"engine {engine}, fp32\n")
    assert [file["path"] for file in document["files"]] == [file["path"] for file in exact["files"]]
    for file, wanted in zip(document["files"], exact["files"], strict=True):
        assert file.get("error") == wanted.get("error")
        assert file.get("tags", {}) == pytest.approx(wanted.get("tags", {}), abs=2e-5)


def test_bf16_is_close_and_unknown_engines_and_precisions_are_refused(run, folder):
    rows = {}
    for precision in ("fp32", "bf16"):
        outcome = run(folder / "b-high.flac", "--engine", "torch", "--precision", precision, "--format", "jsonl")
        assert outcome.stderr == f"engine torch, {precision}\n"
        rows[precision] = json.loads(outcome.stdout)["tags"]
    assert rows["bf16"] != rows["fp32"] and rows["bf16"] == pytest.approx(rows["fp32"], abs=0.05)
    assert run(folder / "b-high.flac", "--engine", "abacus").exit_code == 2
    assert run(folder / "b-high.flac", "--precision", "fp8").exit_code == 2


def test_hop(run, folder, refused):
    path = folder / "b-high.flac"  # 1.1 s, windows of 0.25 s
    outcome = run(path, "--format", "json", "--over-time", "--hop", 0.1, "--precision", "fp32")
    document = json.loads(outcome.stdout)
    starts = [segment["start"] for segment in document["files"][0]["over_time"]]
    assert np.allclose(np.diff(starts)[:-1], 0.1, rtol=0.01) and len(starts) in (9, 10)
    assert document["files"][0]["over_time"][-1]["end"] == pytest.approx(1.1, abs=0.011)
    assert document["hop"] == 0.1 and "; hop 0.100125 s, windows share 1 block" in outcome.stderr
    assert "to 0.25 s, the window, not 0.3 s" in refused(run(path, "--hop", 0.3))
    assert run(path, "--hop", 0).exit_code == 2


def test_a_hop_is_refused_for_tfrecords(run, tmp_path, refused):
    (tmp_path / "x.tfrecord").write_bytes(b"")
    assert "omit --hop" in refused(run(tmp_path / "x.tfrecord", "--hop", 0.1))


def test_skipped_files_in_folders_are_noted(run, folder, without_av):
    (folder / "x.m4a").write_bytes(b"sound")
    os.mkfifo(folder / "pipe.wav")
    outcome = run(folder, "--engine", "numpy")
    lines = outcome.stderr.splitlines()
    assert lines[0] == "engine numpy, fp32" and lines[1].startswith("note: 1 recording is in formats")
    assert "note: 1 FIFO, socket or device is skipped" in lines and "pipe.wav" not in outcome.stdout


def test_an_output_that_is_an_input_is_refused(run, folder, refused):
    before = (folder / "a-low.wav").read_bytes()
    for options in ([folder / "b-high.flac"], [folder]):
        text = refused(run("-o", folder / "a-low.wav", *options))
        assert "would overwrite a recording" in text
    assert (folder / "a-low.wav").read_bytes() == before
    (folder / "list.txt").write_text("kept")
    assert "is one of the inputs" in refused(run(folder / "list.txt", "-o", folder / "list.txt"))
    assert (folder / "list.txt").read_text() == "kept"


@pytest.mark.parametrize("name", ["table", "json", "jsonl", "csv"])
def test_outputs_that_are_not_regular_files(run, folder, tmp_path, name, monkeypatch, refused):
    monkeypatch.chdir(tmp_path)
    options = (folder / "a-low.wav", "--format", name)
    wanted = run(*options).stdout
    assert run(*options, "-o", "-").stdout == wanted and not os.path.lexists("-")
    (tmp_path / "link").symlink_to("real")
    assert run(*options, "-o", "link").stdout == ""
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_text() == wanted
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", "pipe"], stdout=subprocess.PIPE, text=True) as reader:
        assert run(*options, "-o", "pipe").exit_code == 0
        assert reader.communicate()[0] == wanted
    assert (tmp_path / "pipe").is_fifo()
    assert "requires a regular file" in refused(run(folder, "--format", "csv", "-o", "pipe", "--resume"))


def test_recordings_from_pipes_are_read_once(root, model_folder, folder):
    """A given FIFO is read exactly once; so is the standard input."""
    program = "from samplecnn.cli.app import main; main()"
    command = """"$0" -c "$1" tag "$2" --format jsonl <(cat "$3") - < "$3" """
    words = ["bash", "-c", command, sys.executable, program, str(model_folder), str(folder / "b-high.flac")]
    done = subprocess.run(words, capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr + done.stdout
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [next(iter(record["tags"])) for record in records] == ["high", "high"] and records[1]["path"] == "-"
