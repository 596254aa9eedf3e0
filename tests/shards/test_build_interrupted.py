"""A build that is interrupted at any point, or has no space, continues to the same bytes."""

import os
import resource
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from small_builds import build

from samplecnn.errors import SampleCNNError


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


@pytest.mark.slow
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


def test_too_little_disk_space_is_reported_before_decoding(recordings, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 10**6))
    with pytest.raises(SampleCNNError, match=r"GB are needed, 0\.0 GB are free"):
        build(recordings(), tmp_path / "made")
    monkeypatch.undo()
    assert build(recordings(), tmp_path / "made").clips == 30


@pytest.mark.slow
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
