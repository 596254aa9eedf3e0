"""`samplecnn tag` with events, several formats and output folders."""

import csv
import json
import os
import shutil
import signal
from contextlib import contextmanager
from dataclasses import replace

import pytest
import soundfile

from samplecnn import __version__
from samplecnn.cli.process import os_error_message
from samplecnn.errors import UsageError
from samplecnn.tagging import Tagger
from samplecnn.tagging.formats import COLLECTIONS, DOCUMENTS, FORMATS
from samplecnn.tagging.tag_files import tag_paths
from samplecnn.tagging.writers import Selection

RATE = 8000
PLAIN = ("--engine", "numpy", "--precision", "fp32")
TEXTS = [name for name in DOCUMENTS if name not in ("png", "svg")]


@pytest.fixture
def songs(tmp_path, sound):
    """Two recordings with the same name in different folders, and a damaged one."""
    base = tmp_path / "songs"
    (base / "inner").mkdir(parents=True)
    soundfile.write(base / "a.wav", sound(("low", 1), ("high", 0.5), ("low", 0.5)), RATE)
    soundfile.write(base / "inner" / "a.wav", sound(("middle", 1)), RATE)
    (base / "bad.wav").write_text("no sound")
    return base


def test_events_have_the_times_of_the_sounds(run, songs, refused):
    path = songs / "a.wav"
    plain = ("--format", "jsonl", "--engine", "numpy", "--precision", "fp32")
    [record] = map(json.loads, run(path, *plain, "--events").stdout.splitlines())
    spans = [(event["label"], event["start"], event["end"]) for event in record["events"]]
    assert spans == [("low", 0, 1), ("high", 1, 1.5), ("low", 1.5, 2)]
    assert all(event["score"] > 0.5 for event in record["events"])
    [record] = map(json.loads, run(path, *plain, "--max-gap", 0.5, "--min-seconds", 1.5).stdout.splitlines())
    assert [(event["label"], event["start"], event["end"]) for event in record["events"]] == [("low", 0, 2)]
    [record] = map(json.loads, run(path, *plain, "--class-threshold", "low=1").stdout.splitlines())
    assert {event["label"] for event in record["events"]} == {"high"}
    fine = json.loads(run(path, *plain, "--events", "--hop", 0.05, "--smooth", 3).stdout)["events"]
    assert [event["label"] for event in fine] == ["low", "high", "low"]
    assert [event["start"] for event in fine] == pytest.approx([0, 1, 1.5], abs=0.13)
    assert "'cow', which is not a class of this model" in refused(run(path, "--class-threshold", "cow=0.5"))
    assert "CLASS=VALUE" in refused(run(path, "--class-threshold", "cow"))
    assert "odd number" in refused(run(path, "--events", "--smooth", 2))


def test_csv_of_events_is_long_csv_and_resumable(run, songs, tmp_path):
    output = tmp_path / "events.csv"
    options = (songs, "--events", "--format", "csv", "-o", output, "--engine", "numpy", "--precision", "fp32")
    run(*options)
    whole = output.read_bytes()
    rows = list(csv.DictReader(whole.decode().splitlines()))
    assert [row["class"] for row in rows] == ["low", "high", "low", "", "middle"] and rows[3]["error"]
    for size in range(0, len(whole), 40):
        (tmp_path / "events.csv.part").write_bytes(whole[:size])
        run(*options, "--resume")
        assert output.read_bytes() == whole


def test_several_formats_go_into_a_folder_that_mirrors_the_recordings(run, songs, tmp_path, refused):
    folder = tmp_path / "out"
    outcome = run(songs, "--format", ",".join([*COLLECTIONS, *TEXTS]), "--output-dir", folder, "--events")
    assert outcome.exit_code == 1 and outcome.stdout == "" and "1 of 3 files could not be tagged" in outcome.stderr
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    suffixes = [DOCUMENTS[name].suffix for name in TEXTS]
    assert names >= {f"{stem}{suffix}" for stem in ("a", "inner/a") for suffix in suffixes}
    collections = {"tags.txt", "tags.json", "tags.jsonl", "tags.csv", "tags.long.csv", "tags.parquet"}
    others = {"tags.dcase.txt", "tags.kaleidoscope.csv", "about.json"}
    assert names == collections | others | {f"{stem}{suffix}" for stem in ("a", "inner/a") for suffix in suffixes}
    assert "middle" in (folder / "inner" / "a.vtt").read_text() and "middle" not in (folder / "a.vtt").read_text()
    about = json.loads((folder / "about.json").read_text())
    assert about["provenance"]["samplecnn"] == __version__ and about["classes"] == ["low", "middle", "high"]
    again = run(songs, "--format", "vtt", "--format", "csv", "--output-dir", folder)
    assert "already exists" in refused(again) and "--overwrite" in refused(again)
    assert run(songs, "--format", "vtt,csv", "--output-dir", folder, "--overwrite").exit_code == 1


def test_one_recording_can_go_to_the_standard_output_or_a_file(run, songs, tmp_path, refused):
    text = run(songs / "a.wav", "--format", "audacity").stdout
    assert [line.split("\t")[:2] for line in text.splitlines()] == [
        ["0.000000", "1.000000"], ["1.000000", "1.500000"], ["1.500000", "2.000000"]
    ]  # fmt: skip
    output = tmp_path / "labels.txt"
    assert run(songs / "a.wav", "--format", "audacity", "-o", output).stdout == ""
    assert output.read_text() == text
    failed = run(songs / "bad.wav", "--format", "vtt", "-o", tmp_path / "bad.vtt")
    assert failed.exit_code == 1 and not (tmp_path / "bad.vtt").exists()
    assert "one file per recording, and there are 3" in refused(run(songs, "--format", "vtt"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--format", "vtt,csv"), "need a folder"),
        (("--output-dir", "x", "-o", "y"), "exclude each other"),
        (("--output-dir", "{songs}/a.wav"), "not a folder"),
        (("--about", "x", "--no-about"), "exclude each other"),
        (("--about", "x", "-o", "./x"), "--about and --output would both be written there"),
        (("--about", "x.part", "-o", "x"), "--about and the unfinished file of --output would both"),
        (("--about", "out/tags.csv", "--format", "json,csv", "--output-dir", "out"), "--about and --format csv would"),
        (("--about", "out/a.labels.txt", "--format", "audacity", "--output-dir", "out"), "and --format audacity would"),
        (("--about", "out/a.taggram.png", "--format", "png", "--output-dir", "./out"), "and --format png would"),
        (("--about", "out/unfinished.tags", "--output-dir", "out"), "--about and the journal for --resume would"),
        (("--about", "e.npz", "--embeddings", "e.npz"), "--about and --embeddings would both be written there"),
        (("--embeddings", "e.npz", "-o", "e.npz"), "--embeddings and --output would both be written there"),
        (("--files-from", "list", "--about", "list"), "list: is one of the inputs (list)"),
        (("--files-from", "list", "--about", "link"), "link: is one of the inputs (list)"),
        (("--files-from", "list", "-o", "list"), "list: is one of the inputs (list)"),
        (
            ("--files-from", "a.vtt", "--format", "vtt", "--output-dir", ".", "--overwrite"),
            "a.vtt: is an input, and --format vtt would be written there",
        ),
        (("-o", "{model}/config.json"), "is one of the inputs"),
        (("--about", "{songs}/inner/a.wav"), "would overwrite a recording"),
        (("--about", "-"), "--about needs a file"),
        (("--format", "vtt", "-o", "{songs}/a.wav"), "would overwrite a recording"),
        (("--resume", "--output-dir", "{songs}/no"), "there is no interrupted run to continue"),
    ],
)
def test_options_that_exclude_each_other_are_refused(
    run, songs, model_folder, options, message, tmp_path, monkeypatch, refused
):
    monkeypatch.chdir(tmp_path)
    for name in ("list", "a.vtt"):
        (tmp_path / name).write_text(f"{songs}/a.wav\n")
    (tmp_path / "link").symlink_to("list")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    given = [str(option).format(songs=songs, model=model_folder) for option in options]
    assert message in refused(run(songs / "a.wav", *given))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert run(songs, "--format", "csv,xml").exit_code == 2
    assert run(songs, "--format", "csv", "--format", "xml").exit_code == 2


@contextmanager
def full_disk(size: int):
    """No file can grow beyond this many bytes."""
    resource = pytest.importorskip("resource", reason="no limits on processes on this system")
    usual, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("options", [("-o", "y.csv"), ("--output-dir", "o", "--format", "csv-long,audacity")])
@pytest.mark.parametrize("size", [0, 1500])
def test_a_full_disk_has_one_remedy_that_works(run, songs, tmp_path, monkeypatch, options, size):
    monkeypatch.chdir(tmp_path)
    for name in "cdefgh":
        shutil.copy(songs / "a.wav", songs / f"{name}.wav")
    (songs / "bad.wav").unlink()
    words = (songs, "--format", "csv", "--over-time", *options, *PLAIN)
    with full_disk(size), pytest.raises(OSError, match="File too large") as caught:
        run(*words)
    message = os_error_message(caught.value)
    assert message.startswith(("y.csv: ", "o/")) and ".part" not in message, message
    kept = "o/unfinished.tags" if "o" in options else "y.csv.part"
    assert (tmp_path / kept).exists() == (size > 0)
    assert message.endswith("continue with --resume" if size else "run the same command again"), message
    outcome = run(*words, *(["--resume"] if size else []))
    assert outcome.exit_code == 0 and not (tmp_path / kept).exists(), outcome


def test_an_output_folder_contains_no_partial_files(model_folder, songs, tmp_path, monkeypatch):
    def broken(self, paths):
        for number, outcome in enumerate(tag_files(self, paths)):
            if number == 2:
                raise KeyboardInterrupt
            yield outcome

    tag_files = Tagger.tag_files
    monkeypatch.setattr(Tagger, "tag_files", broken)
    folder = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        tag_paths(model_folder, [songs], "csv,jsonl,parquet,vtt", output_dir=folder)
    assert sorted(os.listdir(folder)) == ["a.vtt", "unfinished.tags"]  # noqa: PTH208 - names are enough


def interrupted(monkeypatch, after: int, *given, **options) -> list[str]:
    """Runs `tag_paths`, which breaks off when `after` files are tagged; the files that went through the model."""
    heard: list[str] = []
    real = Tagger.tag_files

    def counted(self, paths):
        for path, outcome in real(self, paths):
            if len(heard) == after:
                raise KeyboardInterrupt
            heard.append(os.path.basename(path))  # noqa: PTH119
            yield path, outcome

    with monkeypatch.context() as patched:
        patched.setattr(Tagger, "tag_files", counted)
        if after < 9:
            with pytest.raises(KeyboardInterrupt):
                tag_paths(*given, engine="numpy", precision="fp32", **options)
        else:
            tag_paths(*given, engine="numpy", precision="fp32", **options)
    return heard


def contents(folder) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in (".parquet", ".json")
    }


def test_an_interrupted_folder_is_continued_and_is_as_if_it_had_not_been(model_folder, songs, tmp_path, monkeypatch):
    import pyarrow.parquet

    options = {"format": "csv,jsonl,parquet,vtt", "embeddings": str(tmp_path / "e.parquet")}
    whole, folder = tmp_path / "whole", tmp_path / "out"
    assert len(interrupted(monkeypatch, 9, model_folder, [songs], output_dir=whole, **options)) == 3
    vectors = pyarrow.parquet.read_table(tmp_path / "e.parquet")
    (tmp_path / "e.parquet").unlink()
    assert interrupted(monkeypatch, 2, model_folder, [songs], output_dir=folder, **options) == ["a.wav", "bad.wav"]
    with (folder / "unfinished.tags").open("ab") as file:
        file.write(b"cut off")
    with pytest.raises(UsageError, match="an interrupted run; continue it with --resume, or delete this file"):
        tag_paths(model_folder, [songs / "inner"], "csv", output_dir=folder)
    with pytest.raises(UsageError, match=r"the interrupted run used --engine numpy .* --hop 0\.5|and no --hop"):
        tag_paths(model_folder, [songs], output_dir=folder, hop=0.05, resume=True, **options)
    rest = interrupted(monkeypatch, 9, model_folder, [songs], output_dir=folder, resume=True, **options)
    assert rest == ["a.wav"] and contents(folder) == contents(whole) and not (folder / "unfinished.tags").exists()
    assert pyarrow.parquet.read_table(tmp_path / "e.parquet").equals(vectors)
    one, other = (pyarrow.parquet.read_table(each / "tags.parquet") for each in (folder, whole))
    assert one.equals(other)


def test_files_that_changed_and_other_formats_when_a_run_is_continued(model_folder, songs, tmp_path, monkeypatch):
    folder = tmp_path / "out"
    assert len(interrupted(monkeypatch, 2, model_folder, [songs], format="vtt", output_dir=folder)) == 2
    os.utime(songs / "bad.wav", (1, 1))
    both = {"format": ["srt", "csv"], "output_dir": folder, "resume": True}
    assert interrupted(monkeypatch, 9, model_folder, [songs], **both) == ["bad.wav", "a.wav"]
    assert {"a.vtt", "a.srt", "inner/a.srt", "tags.csv", "about.json"} == {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
    }
    with pytest.raises(UsageError, match="there is no interrupted run to continue; omit --resume"):
        tag_paths(model_folder, [songs], **both)


def test_every_output_contains_the_provenance(run, songs, model_folder, tmp_path):
    import hashlib

    digest = hashlib.sha256((model_folder / "model.safetensors").read_bytes()).hexdigest()
    document = json.loads(run(songs / "a.wav", "--format", "json", "--engine", "numpy", "--hop", 0.1).stdout)
    made = document["provenance"]
    assert made["model_sha256"] == digest and made["samplecnn"] == __version__
    assert (made["engine"], made["hop"]) == ("numpy", pytest.approx(0.1, rel=0.01))
    assert "libsndfile" in made["decoder"] and "soxr" in made["decoder"]
    assert digest in run(songs / "a.wav", "--format", "vtt").stdout
    assert digest in run(songs / "a.wav", "--format", "jams").stdout
    for name, kind in FORMATS.items():
        if name == "svg":
            continue  # drawn as png is
        output = tmp_path / f"{name}.out"
        aside = tmp_path / f"{name}.out.about.json"
        run(songs / "a.wav", "--format", name, "-o", output, *PLAIN)
        assert aside.exists() != kind.describes_itself
        content = output.read_bytes()
        if name in ("png", "svg", "parquet"):  # in chunks and metadata, as plain bytes
            content = content.replace(b"&quot;", b'"')
        elif not kind.describes_itself:
            content = aside.read_bytes()
            assert digest.encode() not in output.read_bytes()
        for fact in (digest, __version__, "numpy", "fp32", "libsndfile", "hop"):
            assert fact.encode() in content, (name, fact)
    output, aside = tmp_path / "csv.out", tmp_path / "csv.out.about.json"
    run(songs / "a.wav", "--format", "csv", "-o", output, "--no-about", *PLAIN)
    assert not aside.exists(), "the provenance of the earlier tags does not stay"
    run(songs / "a.wav", "--format", "csv", "-o", output, "--about", aside, *PLAIN)
    assert json.loads(aside.read_text())["provenance"]["model_sha256"] == digest
    run(songs / "a.wav", "--format", "csv", "-o", output, "--about", tmp_path / "run.json", *PLAIN)
    assert not aside.exists() and json.loads((tmp_path / "run.json").read_text())["classes"][0] == "low"
    rows = run(songs / "a.wav", "--format", "jsonl", "--about", tmp_path / "stdout.json", *PLAIN).stdout
    assert json.loads(rows)["path"] == str(songs / "a.wav")
    assert json.loads((tmp_path / "stdout.json").read_text())["provenance"]["model_sha256"] == digest


def test_documents_show_a_threshold_and_the_best_classes(tagger, songs):
    tags = tagger(songs / "a.wav")
    assert [event.label for event in Selection(threshold=0.5, top=1).events_of(tags)] == ["low", "low"]
    assert len(Selection(threshold=0).events_of(replace(tags, over_time=tags.over_time + 0.01))) == 3


def test_paths_are_read_from_a_list(run, songs, tmp_path, refused):
    wanted = run(songs / "a.wav", songs / "inner", "--format", "csv").stdout
    names = [str(songs / "a.wav"), str(songs / "inner")]
    for content in ("\n".join(names) + "\n", "\r\n".join(names), "\0".join(names) + "\0"):
        (tmp_path / "list").write_bytes(content.encode())
        assert run("--files-from", tmp_path / "list", "--format", "csv").stdout == wanted
    (tmp_path / "list").write_text(names[1])
    assert run(names[0], "--files-from", tmp_path / "list", "--format", "csv").stdout == wanted
    assert "cannot be read" in refused(run("--files-from", tmp_path / "missing"))
    assert "no recordings given" in refused(run())
