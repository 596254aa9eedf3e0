"""Updates that end at any moment, as by kill -9: the next one continues, and the index is the same row for row."""

import os
import shutil
from pathlib import Path

import pytest

from samplecnn.index import read_index, update_index
from samplecnn.index.entry import Entry
from samplecnn.index.journal import Journal, read_journal
from samplecnn.index.parts import PART, part_file

from .conftest import run_until

OPTIONS = {"engine": "numpy", "precision": "fp32", "batch_size": 1}  # one by one: the same bits in any order

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


STEPS = [(Path, "replace"), (Path, "unlink"), (Path, "mkdir"), (Journal, "add"), (Journal, "close")]


def update_until(step: int | None, index: Path, model: Path, sounds: Path) -> int:
    """Runs an update that ends right before its `step`-th change of a file, see `run_until`."""
    return run_until(step, STEPS, lambda: update_index(index, model, [sounds], **OPTIONS), index.parent / "log")


@pytest.fixture
def changed(tmp_path, model, sounds, noise) -> Path:
    """An index, and after it changes of every kind in `sounds`; small parts, so that there are several."""
    update_index(tmp_path / "before", model, [sounds], **OPTIONS)
    (sounds / "a" / "2.wav").rename(sounds / "moved.wav")
    (sounds / "a" / "3.wav").unlink()
    shutil.copy(sounds / "b" / "6.wav", sounds / "copy.wav")
    noise(sounds / "a" / "1.wav", 51, 0.7)
    for number in range(4):
        noise(sounds / "c" / f"{number}.wav", 60 + number)
    shutil.copy(sounds / "c" / "2.wav", sounds / "c" / "z.wav")
    return tmp_path / "before"


def test_an_update_killed_at_its_steps(tmp_path, model, sounds, changed, rows, monkeypatch):
    monkeypatch.setattr("samplecnn.index.new_files.PART_BYTES", 4000)
    monkeypatch.setattr("samplecnn.index.compaction.SMALL_PARTS", 2)  # and they are merged in the end
    shutil.copytree(changed, tmp_path / "whole")
    assert update_until(None, tmp_path / "whole", model, sounds) == 0
    wanted = rows(tmp_path / "whole")
    assert len(wanted) == 17
    killed = 0
    for step in range(0, 1000, 3):  # `tests/test_kills.py` kills at random moments
        index = tmp_path / f"killed-{step}"
        shutil.copytree(changed, index)
        status = update_until(step, index, model, sounds)
        read_index(index)  # what is there is consistent at any moment
        if status == 0:
            break
        assert status == 9, (tmp_path / "log").read_text()
        killed += 1
        if step % 9 == 0:
            assert update_until(step // 2, index, model, sounds) in (0, 9)  # killed again while it continues
        assert update_until(None, index, model, sounds) == 0
        assert rows(index) == wanted, step
        update_index(index, engine="numpy")  # removes what the last one has replaced
        assert rows(index) == wanted and not leftovers(index), (step, leftovers(index))
        shutil.rmtree(index)
    assert killed > 4


def leftovers(index: Path) -> list[str]:
    known = set(read_index(index).table["part"].drop_null().to_pylist())
    found = []
    for path in index.iterdir():
        match = PART.fullmatch(path.name)
        if path.name.endswith(".part") or (match and (match[1] in ("files", "journal") or int(match[2]) not in known)):
            found.append(path.name)
    return found


def test_a_new_index_killed_at_its_steps(tmp_path, model, sounds, rows):
    assert update_until(None, tmp_path / "whole", model, sounds) == 0
    wanted = rows(tmp_path / "whole")
    for step in (1, 2, 15):
        index = tmp_path / f"killed-{step}"
        assert update_until(step, index, model, sounds) == 9
        assert update_until(None, index, model, sounds) == 0, (tmp_path / "log").read_text()
        assert rows(index) == wanted and not leftovers(index)


def test_a_journal_cut_off_anywhere_gives_its_whole_recordings(tmp_path, index):
    known = read_index(index)
    path, classes, size = part_file(tmp_path, "journal", 7), len(known.classes), known.settings.embedding_size
    entries, ends = [], [0]
    with_error = Entry("/x/\udce9", 5, -7, "", "numpy fp32", error="no sound \udce9")
    journal = Journal(path)
    for row in [*known.select()[:2], None]:
        entry = with_error
        if row is not None:
            tags, facts = known.outcome(row), known.facts(row)
            entry = Entry(
                known.paths[row], facts["size"], facts["mtime_ns"], facts["sha256"], "numpy fp32", None, tags.samples,
                len(tags.starts), False, "", False, tags.scores, tags.starts, tags.over_time,
                known.embedding_records(row),
            )  # fmt: skip
        journal.add(entry)
        entries.append(entry)
        ends.append(path.stat().st_size)
    journal.close()
    whole = path.read_bytes()
    for cut in sorted({*range(0, len(whole), 97), *ends, *(end - 1 for end in ends[1:])}):
        path.write_bytes(whole[:cut])
        found = list(read_journal(path, classes, size))
        assert len(found) == sum(end <= cut for end in ends[1:])
        for one, two in zip(found, entries, strict=False):
            assert one.to_values() == two.to_values()
            if two.scores is not None:
                assert one.over_time.tobytes() == two.over_time.tobytes()
                assert one.embeddings.tobytes() == two.embeddings.tobytes()
    for at in range(0, len(whole), 211):
        damaged = bytearray(whole)
        damaged[at] ^= 64
        path.write_bytes(damaged)
        assert len(list(read_journal(path, classes, size))) < 3
