"""Tags of an index in its files: which are written, what the index knows of the files then, and undoing it."""

import os
import shutil
from pathlib import Path

import pytest

from samplecnn.errors import UsageError
from samplecnn.file_tags import read_fields
from samplecnn.file_tags.fields import GENRE, MODEL, MOOD, SCORES, TAGS
from samplecnn.file_tags.journal import Journal
from samplecnn.index import read_index, update_index
from samplecnn.index.file_tags import undo_file_tags, write_file_tags
from samplecnn.index.written import NAME, WrittenFiles

from .conftest import run_until

pytest.importorskip("mutagen", reason="needs mutagen (the extra tags)")


@pytest.fixture
def folder(tmp_path, model, sounds):
    update_index(tmp_path / "i.index", model, [sounds])
    return tmp_path / "i.index"


def test_tags_are_written_the_index_stays_up_to_date_and_all_is_undone(folder, sounds, run):
    index = read_index(folder)
    before = {path: path.read_bytes() for path in sounds.rglob("*.wav")}
    limit = float(index.scores[~index.failed].max(axis=1).min()) - 1e-6  # every file has a tag
    options = ["--threshold", str(limit), "--genre", "low=Deep", "--genre", "high", "--mood", "path=calm"]
    dry = run("write-tags", folder, *options, "--dry-run")
    assert "10 files would be written, 0 unchanged, 0 failed" in dry.stdout
    assert before == {path: path.read_bytes() for path in before}
    done = run("write-tags", folder, *options)
    assert "10 files written, 0 unchanged, 0 failed" in done.stdout
    journal = done.stdout.rpartition("--undo ")[2].strip()
    for row in index.select():
        if index.failed[row]:
            continue
        fields = read_fields(index.paths[row])
        scores = dict(zip(index.classes, index.scores[row].tolist(), strict=True))
        expected = sorted((name for name in scores if scores[name] > limit), key=lambda name: -scores[name])
        assert fields[TAGS] == expected and f"{expected[0]}={scores[expected[0]]:.3f}" in fields[SCORES][0]
        assert fields[MODEL] == [f"run {index.settings.model_sha256[:16]}"]
        assert fields[GENRE] == [{"low": "Deep", "high": "high"}[name] for name in expected if name != "path"]
        assert fields[MOOD] == ["calm"] * ("path" in expected)
    assert update_index(folder).tagged.files == 0
    assert "0 files written, 10 unchanged" in run("write-tags", folder, *options).stdout
    killed, cut, undone = (folder / f"write-tags-20200101-00000{n}.jsonl" for n in range(3))
    for other in (killed, undone, Path(f"{undone}.undone")):
        shutil.copy(journal, other)
    cut.write_text('{"path": "/a')
    again = run("write-tags", folder, *options).stdout
    assert f"each with its own --undo: {journal}, {killed}\n" in again and cut.name not in again
    assert "10 files restored, 0 unchanged, 0 failed" in run("write-tags", folder, "--undo", journal).stdout
    assert before == {path: path.read_bytes() for path in before}
    assert update_index(folder).tagged.files == 0


def test_files_that_changed_since_the_update_are_left_alone(folder, sounds, noise, run):
    path = noise(sounds / "a" / "0.wav", 99, 0.9)
    content = path.read_bytes()
    result = run("write-tags", folder, sounds / "a")
    assert f"{path}: it has changed since the index was updated" in result.stderr and path.read_bytes() == content
    assert result.exit_code == 1
    assert "4 files written, 0 unchanged, 1 failed" in result.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--genre", "nothing"], "--genre nothing: no class of this index; use CLASS or CLASS=VALUE"),
        (["--mood", "low="], "--mood low=: no class of this index"),
        (["--undo", "gone.jsonl"], "gone.jsonl: not found; name the journal that write-tags has written"),
        (["--undo", "j", "--top", "1"], "--undo takes all changes of the journal back; omit --top"),
    ],
)
def test_what_cannot_be_meant_is_refused(folder, options, message, run):
    error = run("write-tags", folder, *options).exception
    assert isinstance(error, UsageError) and message in str(error)


def test_an_existing_journal_is_not_overwritten(folder, tmp_path):
    (tmp_path / "j").write_text("mine")
    with pytest.raises(UsageError, match="exists and is not a journal; name another file for the journal"):
        write_file_tags(read_index(folder), [], journal=tmp_path / "j")
    assert (tmp_path / "j").read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_killed_run_is_continued_or_undone_and_nothing_is_run_through_the_model_again(folder, sounds, tmp_path):
    steps = [(Journal, "add"), (Path, "replace"), (WrittenFiles, "add"), (WrittenFiles, "apply")]
    kept, journal = tmp_path / "kept", tmp_path / "j.jsonl"
    for name, source in (("sounds", sounds), ("index", folder)):
        shutil.copytree(source, kept / name)
    before = {path: path.read_bytes() for path in sounds.rglob("*.wav")}

    def killed(step: int, undo: bool = False) -> None:
        def work() -> None:
            index = read_index(folder)
            if undo:
                undo_file_tags(index, journal)
            else:
                write_file_tags(index, index.select(), threshold=0, journal=journal)

        assert run_until(step, steps, work, tmp_path / "log") == 9, (tmp_path / "log").read_text()

    def runs_nothing() -> None:
        report = update_index(folder)
        assert report.tagged.files == 0 and not (folder / NAME).exists(), report

    for step in (1, 11, 31):  # before a file is replaced, listed, and before the table is
        killed(step)
        changed = {path for path in before if path.read_bytes() != before[path]}
        assert len(changed) == min((step + 1) // 3, 10)
        index = read_index(folder)
        report = write_file_tags(index, index.select(), threshold=0, journal=journal)
        lost = step == 11  # the one file that was changed but not listed yet
        assert len(report.failed) == lost and len(report.written) == 10 - len(changed)
        if not lost:
            runs_nothing()
        killed(step, undo=True)
        report = undo_file_tags(read_index(folder), journal)
        assert not report.failed and before == {path: path.read_bytes() for path in before}
        runs_nothing()
        journal.unlink()
        for name, target in (("sounds", sounds), ("index", folder)):
            shutil.rmtree(target)
            shutil.copytree(kept / name, target)
