"""Building: deterministic, resumable after a kill at any point, with a report of what is skipped."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from samplecnn.audio import cut, decode, from_int16, to_int16
from samplecnn.datasets.base import Clip, Table
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.shards import build_table, open_split
from samplecnn.shards.arrow_segments import ArrowSegments
from samplecnn.shards.build_report import read_report
from samplecnn.task import Task

_TASK = Task("made", ("a", "b"), sample_rate=8000, window=2000)


def build(table, home, **options):
    return build_table(table, home, **{"workers": 1, "clips_per_shard": 10, "progress": False, **options})


def test_shards_hold_the_decoded_recordings(recordings, tmp_path):
    table = recordings()
    report = build(table, tmp_path / "data" / "made")
    assert report.folder == tmp_path / "data" / "made" / "arrow"
    assert [count.clips for count in report.splits.values()] == [24, 3, 3] and not report.issues
    by_id = {clip.id: clip for clip in table.clips}
    total = 0
    for split in ("train", "val", "test"):
        segments = open_split("made", tmp_path / "data", split)
        assert segments.num_clips == report.splits[split].clips and len(segments) == report.splits[split].segments
        audio = segments.gather(range(len(segments)))
        starts = [*segments.clip_starts, len(segments)]
        for start, end in pairwise(starts):
            clip = by_id.pop(segments.ids[start])
            assert clip.split == split and set(segments.ids[start:end]) == {clip.id}
            assert np.array_equal(audio[start:end], to_int16(cut(decode(clip.path, 8000), segments.task)))
            assert (segments.labels[start:end].nonzero()[1] == clip.labels[0]).all()
        total += segments.bytes
    assert not by_id and total == report.bytes


def test_mean_and_std_are_those_of_the_training_segments(recordings, tmp_path):
    report = build(recordings(), tmp_path / "made")
    segments = ArrowSegments(tmp_path / "made" / "arrow", "train")
    wave = from_int16(segments.gather(range(len(segments)))).astype(np.float64)
    assert segments.task.mean == pytest.approx(wave.mean(), rel=1e-9)
    assert segments.task.std == pytest.approx(wave.std(), rel=1e-9)
    assert report.task == segments.task
    for split in ("val", "test"):
        assert ArrowSegments(tmp_path / "made" / "arrow", split).task == report.task
    assert json.loads((report.folder / "task.json").read_text()) == report.task.to_dict()


def test_a_published_task_keeps_its_numbers(recordings, tmp_path):
    table = recordings(measured=False)
    table = replace(table, task=table.task.with_statistics(0.01, 0.2))
    assert build(table, tmp_path / "made").task == table.task


@pytest.mark.parametrize("clip_seconds", [None, pytest.param(0.55, marks=pytest.mark.slow)])
def test_the_bytes_do_not_depend_on_the_number_of_workers(recordings, tmp_path, digests, clip_seconds):
    table = recordings(clip_seconds=clip_seconds)
    found = []
    for workers in (1, 2, 3):
        found.append(digests(build(table, tmp_path / f"made{workers}", workers=workers, clips_per_shard=4).folder))
    assert found[0] == found[1] == found[2]
    assert sum(name.startswith("train-") for name in found[0]) == 6
    shuffled = replace(table, clips=table.clips[::-1])  # nor on the order of a listing
    assert digests(build(shuffled, tmp_path / "made4", clips_per_shard=4).folder) == found[0]


def test_the_seed_determines_the_order_of_the_clips(recordings, tmp_path):
    orders = []
    for seed in (0, 1):
        build(recordings(), tmp_path / "made", seed=seed)
        orders.append(ArrowSegments(tmp_path / "made" / "arrow", "train").ids)
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])


@pytest.mark.slow
def test_padding_reaches_the_shards_and_the_task(recordings, tmp_path):
    table = recordings(clip_seconds=2.0)
    short = min(table.clips, key=lambda clip: soundfile.info(clip.path).frames if clip.split == "train" else 1e9)
    wave = decode(short.path, 8000)
    for padding in ("tile", "zero", "stretch"):
        report = build(table, tmp_path / "made", padding=padding)
        segments = ArrowSegments(report.folder, "train")
        start = segments.ids.index(short.id)
        expected = to_int16(cut(wave, replace(table.task, padding=padding)))
        assert np.array_equal(segments.gather(range(start, start + 8)), expected)
        assert segments.task.padding == padding
    with pytest.raises(UsageError, match="mirror"):
        build(table, tmp_path / "made", padding="mirror")


def test_custom_data_gets_shards_of_about_64_mb(recordings, tmp_path, monkeypatch):
    monkeypatch.setattr("samplecnn.shards.plan.SHARD_BYTES", 100_000)
    report = build(recordings(60, clip_seconds=0.5), tmp_path / "made", clips_per_shard=None)
    sizes = [path.stat().st_size for path in report.folder.glob("train-*.arrow")]
    assert len(sizes) > 2 and all(60_000 < size < 160_000 for size in sizes)


# Rebuilding.


def test_a_second_build_has_nothing_to_do(recordings, tmp_path, digests):
    table = recordings()
    first = build(table, tmp_path / "made")
    before = digests(first.folder)
    times = {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    again = build(table, tmp_path / "made")
    assert again.already_built and not first.already_built
    assert (again.splits, again.task, again.bytes) == (first.splits, first.task, first.bytes)
    assert times == {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    forced = build(table, tmp_path / "made", force=True)
    assert not forced.already_built and digests(forced.folder) == before
    assert {path.name for path in (tmp_path / "made").iterdir()} == {"arrow"}


def test_changed_recordings_or_labels_are_built_again(recordings, tmp_path):
    table = recordings()
    build(table, tmp_path / "made")
    soundfile.write(table.clips[0].path, np.full(4000, 0.25), 8000)
    assert not build(table, tmp_path / "made").already_built
    other = replace(table, clips=[table.clips[0]._replace(labels=(2,)), *table.clips[1:]])
    assert not build(other, tmp_path / "made").already_built
    segments = ArrowSegments(tmp_path / "made" / "arrow", "train")
    row = segments.ids.index("000")
    assert segments.labels[row].tolist() == [0, 0, 1] and (segments.gather([row]) == 8192).all()


def test_a_lost_shard_is_built_again(recordings, tmp_path, digests):
    table = recordings()
    report = build(table, tmp_path / "made")
    before = digests(report.folder)
    next(report.folder.glob("train-*.arrow")).unlink()
    assert not build(table, tmp_path / "made").already_built
    assert digests(report.folder) == before


def test_old_shards_are_kept_until_the_new_ones_are_complete(recordings, tmp_path, digests):
    table = recordings()
    before = digests(build(table, tmp_path / "made").folder)
    with pytest.raises(SampleCNNError):
        build(
            replace(table, clips=[clip._replace(path=tmp_path / "none.wav") for clip in table.clips]), tmp_path / "made"
        )
    assert digests(tmp_path / "made" / "arrow") == before


# Interruptions.


def wait_for(condition, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.002)


def children(pid: int) -> list[int]:
    """Child processes of a process, from /proc."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(entry.parent.name))
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize(("shards_done", "sign"), [(0, signal.SIGKILL), (1, signal.SIGINT), (4, signal.SIGKILL)])
def test_killed_at_any_point_a_build_continues_to_the_same_bytes(
    recordings, tmp_path, digests, start_build, sign, shards_done
):
    table = recordings(60, seconds=4)
    expected = digests(build(table, tmp_path / "whole", clips_per_shard=6).folder)
    building = tmp_path / "made" / "arrow.building"
    process = start_build(table, tmp_path / "made", clips_per_shard=6)
    wait_for(lambda: len(list(building.glob("*.arrow.json"))) >= shards_done and any(building.glob(".*.arrow.*.part")))
    workers = children(process.pid)
    process.send_signal(sign)
    process.wait(10)
    wait_for(lambda: not any(is_alive(worker) for worker in workers), 10)
    assert workers and not (tmp_path / "made" / "arrow").exists()
    left = len(list(building.glob("*.arrow.json")))
    assert left >= shards_done
    report = build(table, tmp_path / "made", clips_per_shard=6)
    assert digests(report.folder) == expected
    assert (report.resumed > 0) == (left > 0)
    assert {path.name for path in (tmp_path / "made").iterdir()} == {"arrow"}


@needs_proc
def test_a_killed_worker_is_replaced(recordings, tmp_path, digests, start_build):
    table = recordings(60, seconds=4)
    expected = digests(build(table, tmp_path / "whole").folder)
    process = start_build(table, tmp_path / "made")
    building = tmp_path / "made" / "arrow.building"
    wait_for(lambda: any(building.glob(".*.arrow.*.part")))
    for worker in children(process.pid):
        os.kill(worker, signal.SIGKILL)
    assert process.wait(30) == 0, process.stderr.read()
    assert digests(tmp_path / "made" / "arrow") == expected


@pytest.mark.slow
@pytest.mark.parametrize("step", ["set_statistics", "write_json", "publish", "rename", "rmtree"])
def test_interruptions_of_the_final_steps(recordings, tmp_path, digests, monkeypatch, step):
    """After an interruption at any step the next call gives the same result; also with shards of an earlier build."""
    table = recordings()
    expected = digests(build(table, tmp_path / "whole", seed=1).folder)
    build(table, tmp_path / "made", seed=0)

    class Cut(BaseException):
        pass

    def cut_off(*_args, **_options):
        raise Cut

    with monkeypatch.context() as patched:
        from samplecnn.shards import build_folder

        if step == "publish":
            patched.setattr(build_folder.BuildFolder, step, cut_off)
        elif step == "rename":
            rename, calls = Path.rename, []

            def second_fails(path, target):
                if str(target).endswith(("arrow", "arrow.old")):
                    calls.append(path)
                    if len(calls) == 2:
                        raise Cut
                return rename(path, target)

            patched.setattr(Path, "rename", second_fails)
        elif step == "rmtree":
            patched.setattr(build_folder.shutil, "rmtree", cut_off)
        else:
            arrow = build_folder.FORMATS["arrow"]
            original, calls = arrow.set_statistics if step == "set_statistics" else getattr(build_folder, step), []

            def later_fails(*args, **options):
                calls.append(args)
                if len(calls) == 2:
                    raise Cut
                return original(*args, **options)

            if step == "set_statistics":
                patched.setitem(build_folder.FORMATS, "arrow", replace(arrow, set_statistics=later_fails))
            else:
                patched.setattr(build_folder, step, later_fails)
        with pytest.raises(Cut):
            build(table, tmp_path / "made", seed=1)
    build(table, tmp_path / "made", seed=1)
    assert digests(tmp_path / "made" / "arrow") == expected
    assert {path.name for path in (tmp_path / "made").iterdir()} == {"arrow"}


def test_other_options_start_over_with_a_note(recordings, tmp_path, digests, monkeypatch):
    table = recordings()

    def cut_off(*_args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("samplecnn.shards.builder.seal", cut_off)
        with pytest.raises(KeyboardInterrupt):
            build(table, tmp_path / "made", seed=1)
    report = build(table, tmp_path / "made", seed=2)
    assert report.resumed == 0 and any("starts over" in note for note in report.notes)
    assert digests(report.folder) == digests(build(table, tmp_path / "whole", seed=2).folder)


def test_two_builds_of_one_folder(recordings, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    (tmp_path / "made").mkdir()
    folder = os.open(tmp_path / "made", os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    with pytest.raises(SampleCNNError, match="another build of made is running"):
        build(recordings(), tmp_path / "made")
    os.close(folder)
    build(recordings(), tmp_path / "made")


# Bad recordings.


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
    audio, remarks, _ = worker._audio_of("x.wav", [0.0, None], _TASK, False, False, Path())
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
    report = build(Table(_TASK, clips, measured=True), tmp_path / "made")
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


def test_a_table_that_cannot_be_built(recordings, tmp_path):
    table = recordings()
    with pytest.raises(UsageError, match="no clip is for training"):
        build(replace(table, clips=[clip._replace(split="test") for clip in table.clips]), tmp_path / "made")
    with pytest.raises(UsageError, match="two clips are named '000'"):
        build(replace(table, clips=[*table.clips, table.clips[0]]), tmp_path / "made")
    with pytest.raises(UsageError, match="--workers 0"):
        build(table, tmp_path / "made", workers=0)


def test_not_built_yet(tmp_path):
    with pytest.raises(UsageError, match=r"scd is not built yet.*samplecnn build scd"):
        open_split("scd", tmp_path, "train")
    (tmp_path / "scd" / "arrow.building").mkdir(parents=True)
    with pytest.raises(UsageError, match="half built"):
        open_split("scd", tmp_path, "train")
    with pytest.raises(UsageError, match="split 'tests'"):
        open_split("scd", tmp_path, "tests")


# Space and memory.


def test_too_little_disk_space_is_reported_before_decoding(recordings, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 10**6))
    with pytest.raises(SampleCNNError, match=r"GB are needed, 0\.0 GB are free"):
        build(recordings(), tmp_path / "made")
    monkeypatch.undo()
    assert build(recordings(), tmp_path / "made").clips == 30


def test_a_build_on_a_full_disk_is_resumable(recordings, tmp_path, digests):
    """A limit on file sizes simulates a full disk: the write fails within a shard."""
    table = recordings(60, seconds=4)
    expected = digests(build(table, tmp_path / "whole", clips_per_shard=20).folder)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        with pytest.raises(SampleCNNError, match=r"cannot write there .*same command again") as caught:
            build(table, tmp_path / "made", clips_per_shard=20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "made" / "arrow").exists()
    assert digests(build(table, tmp_path / "made", clips_per_shard=20).folder) == expected


@pytest.mark.slow
def test_memory_does_not_grow_with_the_data(recordings, tmp_path):
    """Eight times the clips take no more memory, in the parent as in its workers."""
    program = (
        "import sys, resource; from pathlib import Path; from dataclasses import replace\n"
        "from samplecnn.datasets.base import Clip, Table; from samplecnn.shards import build_table\n"
        "from samplecnn.task import Task\n"
        "paths = sorted(Path(sys.argv[1]).iterdir()); n = int(sys.argv[2])\n"
        "clips = [Clip(str(k), paths[k % len(paths)], 'train', (0,)) for k in range(n)]\n"
        "task = Task('m', ('a',), sample_rate=8000, window=8000, clip_seconds=8)\n"
        "build_table(Table(task, clips, True), Path(sys.argv[3]), workers=2, progress=False)\n"
        "print(*(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))\n"
    )
    recordings(8)
    peaks = []
    for clips in (100, 800):  # 13 and 100 MB of shards
        result = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "raw"), str(clips), str(tmp_path / f"made{clips}")],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        peaks.append([int(peak) / 1024 for peak in result.stdout.split()])
    for few, many in zip(*peaks, strict=True):
        assert many < few + 24, peaks  # MB


@pytest.mark.slow
def test_a_long_recording_is_built_within_bounded_memory(tmp_path, monkeypatch):
    """What is set aside does not grow with the recording, and the samples are those of decoding it at once."""
    import tracemalloc

    from samplecnn.shards import worker
    from samplecnn.shards.formats import FORMATS

    random = np.random.default_rng(0)

    def peak(minutes: int) -> int:
        folder = tmp_path / f"{minutes}"
        folder.mkdir()
        with soundfile.SoundFile(folder / "long.wav", "w", 16000, 1) as file:
            for _ in range(minutes):
                file.write(random.uniform(-0.5, 0.5, 16000 * 60))
        order = {"name": "train.arrow", "split": "train", "measured": True, "crashers": []}
        order |= {"accept_truncated": False, "columns": []}
        tracemalloc.start()
        worker.make_shard(
            folder,
            _TASK,
            FORMATS["arrow"],
            order | {"clips": [["x", str(folder / "long.wav"), [0.0, None], [0], {}]]},
            lambda _: None,
        )
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(list(folder.iterdir())) == 3, "the recording, the shard and its counts"
        return most

    peak(5)
    assert peak(20) < 32 << 20, "bytes; decoded, the recording has 38 MB"
    folder = tmp_path / "20"
    (folder / "train.arrow").rename(folder / "train-00001-of-00001.arrow")
    segments = ArrowSegments(folder, "train")
    expected = to_int16(cut(decode(folder / "long.wav", 8000), _TASK))
    assert np.array_equal(segments.gather(range(len(segments))), expected)


def test_a_kill_while_rebuilding_leaves_nothing_behind(recordings, tmp_path, digests):
    """`build --force` is interrupted; the next build finds the shards in use complete and sweeps the rest."""
    table = recordings()
    before = digests(build(table, tmp_path / "made").folder)
    building = tmp_path / "made" / "arrow.building"
    building.mkdir()
    (building / ".train-00001-of-00003.arrow.123.part").write_bytes(b"half")
    assert build(table, tmp_path / "made").already_built
    assert {path.name for path in (tmp_path / "made").iterdir()} == {"arrow"}
    assert digests(tmp_path / "made" / "arrow") == before


def test_workers_import_no_torch():
    result = subprocess.run(
        [sys.executable, "-c", "import sys, samplecnn.shards.worker; print('torch' in sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert result.stdout.strip() == "False"


# Real recordings


@pytest.mark.slow
def test_real_speech(shared, tmp_path, digests):
    import io
    import tarfile

    wanted: dict[str, int] = {}
    clips = []
    folder = tmp_path / "raw"
    folder.mkdir()
    with tarfile.open(shared / "data" / "speech-commands-16.tar") as tar:
        for member in tar:
            word = member.name.split("/")[-2] if "/" in member.name else ""
            if not member.isfile() or wanted.get(word, 0) >= 15:
                continue
            wanted[word] = wanted.get(word, 0) + 1
            samples, rate = soundfile.read(io.BytesIO(tar.extractfile(member).read()), dtype="int16")
            path = folder / f"{word}-{Path(member.name).stem}.wav"
            soundfile.write(path, samples, rate)
            split = ("val", "test")[wanted[word] - 1] if wanted[word] < 3 else "train"
            clips.append((word, path, split))
    words = tuple(sorted(wanted))
    task = replace(_TASK, classes=words, sample_rate=22050, window=22050, clip_seconds=1.0)
    table = Table(task, [Clip(p.name, p, split, (words.index(word),)) for word, p, split in clips], measured=True)
    assert len(clips) > 200
    report = build(table, tmp_path / "made", clips_per_shard=50)
    assert not report.issues and report.clips == len(clips)
    assert abs(report.task.mean) < 0.01 and 0.02 < report.task.std < 0.5
    segments = ArrowSegments(report.folder, "train")
    row = segments.ids.index(clips[7][1].name)
    assert np.array_equal(segments.gather([row]), to_int16(cut(decode(clips[7][1], 22050, 1.0), task)))
    assert digests(build(table, tmp_path / "one", workers=1, clips_per_shard=50).folder) == digests(report.folder)


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
