"""Recordings that cannot be used, or only in part: they are skipped or kept, and listed in the report."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from small_builds import TASK, build

from samplecnn.datasets.base import Clip, Table
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.shards import build_table, open_split
from samplecnn.shards.arrow_segments import ArrowSegments
from samplecnn.shards.build_report import read_report


def spoil(table: Table) -> dict[str, str]:
    """Damages some recordings; returns the expected report."""
    paths = {clip.id: clip.path for clip in table.clips}
    paths["000"].unlink()
    paths["001"].write_bytes(b"")
    paths["002"].write_bytes(b"no sound at all" * 100)
    data = paths["004"].read_bytes()
    paths["004"].write_bytes(data[: len(data) // 2])
    soundfile.write(paths["005"], np.zeros(4000), 8000)
    soundfile.write(paths["006"], np.full(4000, np.nan), 8000, format="WAV", subtype="FLOAT")
    return {
        "000": "no such file",
        "001": "0 bytes",
        "002": "not audio",
        "004": "cut short",
        "005": "silent",
        "006": "NaN",
    }


@pytest.mark.slow
def test_bad_recordings_are_skipped_and_listed(recordings, tmp_path, digests):
    table = recordings()
    reasons = spoil(table)
    report = build(table, tmp_path / "made")
    rows = read_report(report.report)
    assert tuple(rows) == report.issues and len(rows) == len(reasons)
    for id, reason in reasons.items():
        (row,) = (row for row in rows if Path(row.path).stem == id)
        assert reason in row.reason and row.split == "train"
        assert row.status == ("warning" if reason == "silent" else "skipped")
    assert report.splits["train"] == (19, report.splits["train"].segments, 5)
    built = set(ArrowSegments(report.folder, "train").ids)
    assert "005" in built and not built & {"000", "001", "002", "004", "006"}
    assert digests(build(table, tmp_path / "one", workers=1).folder) == digests(report.folder)
    text = "\n".join(report.lines(shown=2))
    assert "5 skipped" in text and "and 3 more" in text and str(report.report) in text


def test_a_recording_that_crashes_the_decoder_is_skipped(recordings, tmp_path, monkeypatch):
    """A segmentation fault ends the process; the next one skips that clip."""
    package = tmp_path / "crash"
    package.mkdir()
    (package / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if any('samplecnn.shards.worker' in part for part in sys.orig_argv):\n"
        "    import soundfile\n"
        "    read = soundfile.SoundFile.read\n"
        "    def crash(self, *args, **options):\n"
        "        frames = read(self, *args, **options)\n"
        "        if len(frames) == 4321:\n"
        "            os.kill(os.getpid(), 11)\n"
        "        return frames\n"
        "    soundfile.SoundFile.read = crash\n"
    )
    monkeypatch.syspath_prepend(str(package))
    table = recordings()
    soundfile.write(table.clips[3].path, np.full(4321, 0.1), 8000)
    report = build(table, tmp_path / "made")
    (row,) = report.issues
    assert row.path == str(table.clips[3].path) and "died twice" in row.reason
    assert report.clips == 29


def test_any_exception_of_a_decoder_skips_one_file(monkeypatch):
    from samplecnn.shards import worker

    def explode(*_args):
        raise ZeroDivisionError("odd")

    monkeypatch.setattr(worker, "stream", explode)
    audio, remarks, _ = worker._audio_of("x.wav", [0.0, None], TASK, False, False, Path())
    ((status, reason),) = remarks
    assert audio is None and status == "skipped" and "ZeroDivisionError: odd" in reason


def test_odd_names(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    names = [
        "ü ñ 音.wav",
        'quote " comma ,.wav',
        "new\nline.wav",
        "carriage\rreturn.wav",
        os.fsdecode(b"not-utf8-\xff.wav"),
    ]
    clips = []
    for number, name in enumerate(names):
        try:
            soundfile.write(str(folder / "plain.wav"), np.full(4000, 0.1 * (number + 1)), 8000)
            (folder / "plain.wav").rename(folder / name)
        except (OSError, UnicodeError):
            continue
        clips.append(Clip(str(number), folder / name, "train", (0,)))
    clips[0] = clips[0]._replace(id=os.fsdecode(b"caf\xe9"))
    broken = folder / (names[-1] + "\r.mp3")
    broken.write_bytes(b"broken")
    clips.append(Clip("x", broken, "train", (0,)))
    report = build(Table(TASK, clips, measured=True), tmp_path / "made")
    assert report.clips == len(names)
    (row,) = read_report(report.report)
    assert row.path == str(broken)
    "\n".join(report.lines()).encode()
    assert "caf\\udce9" in ArrowSegments(report.folder, "train").ids


def test_nothing_usable_is_an_error_with_a_report(recordings, tmp_path):
    table = recordings()
    for clip in table.clips:
        clip.path.write_bytes(b"not sound")
    with pytest.raises(SampleCNNError, match="none of the 24 training recordings") as caught:
        build(table, tmp_path / "made")
    report = tmp_path / "made" / "report.csv"
    assert str(report) in str(caught.value) and len(read_report(report)) == 30
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["report.csv"]


def test_all_silent_cannot_be_standardised(recordings, tmp_path):
    table = recordings()
    for clip in table.clips:
        soundfile.write(clip.path, np.zeros(3000), 8000)
    with pytest.raises(SampleCNNError, match="silent"):
        build(table, tmp_path / "made")


def test_empty_splits_and_lost_classes_are_noted(recordings, tmp_path):
    table = recordings()
    for clip in table.clips:
        if clip.split == "val" or clip.labels == (2,):
            clip.path.write_bytes(b"broken")
    notes = " / ".join(build(table, tmp_path / "data" / "made").notes)
    assert "the val split is empty" in notes and "best epoch" in notes
    assert "all training clips of noise were skipped" in notes
    with pytest.raises(UsageError, match="no clips in its val split"):
        open_split("made", tmp_path / "data", "val")


@pytest.mark.slow
def test_damaged_recordings_are_kept_in_part_where_asked(recordings, tmp_path):
    table = recordings(12, seconds=2.0)  # several blocks of flac
    whole = build_table(table, tmp_path / "whole", workers=1, progress=False)
    cut = [clip.path for clip in table.clips if clip.split == "train"][:2]
    for path in cut:
        path.write_bytes(path.read_bytes()[:-1500])
    without = build_table(table, tmp_path / "without", workers=1, progress=False)
    assert {row.path for row in without.skipped} == set(map(str, cut)) and not without.kept
    kept = build_table(table, tmp_path / "kept", workers=1, progress=False, accept_truncated=True)
    assert {row.path for row in kept.kept} == set(map(str, cut)) and not kept.skipped
    assert all(re.match(r"kept \d\.\d\d s; (cut short|damaged)", row.reason) for row in kept.kept)
    assert kept.splits["train"].clips == whole.splits["train"].clips
    assert "  note: 2 recordings are in the shards only in part (--accept-truncated)" in kept.lines()
    assert build_table(table, tmp_path / "kept", workers=1, progress=False, accept_truncated=True).already_built
    assert not build_table(table, tmp_path / "kept", workers=1, progress=False).already_built, "another result"


def test_channels_that_cancel_each_other_out_are_reported(recordings, tmp_path):
    table = recordings(12)
    path = next(clip.path for clip in table.clips if clip.split == "train")
    sound = np.random.default_rng(0).uniform(-0.3, 0.3, 4000)
    soundfile.write(path, np.stack([sound, -sound], 1), 8000)
    report = build_table(table, tmp_path / "built", workers=1, progress=False)
    assert [(row.path, "cancel" in row.reason) for row in report.warnings] == [(str(path), True)]
