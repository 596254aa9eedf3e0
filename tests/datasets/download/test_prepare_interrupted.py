"""`prepare` killed or interrupted at any point is resumed by the next run."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest
from small_data_sets import QUICK, TRAINING, layout, serve
from zip_encryption import encrypted_zip

from samplecnn.datasets.base import Download, Published
from samplecnn.datasets.download.prepare import prepare
from samplecnn.errors import UsageError

DRIVER = textwrap.dedent(
    """
    import json, sys
    from dataclasses import replace
    from pathlib import Path
    from samplecnn.datasets.base import Download, Published
    from samplecnn.datasets.download.prepare import prepare
    from samplecnn.datasets.download.http import Network
    job = json.loads(sys.argv[1])
    if job["slow"]:  # makes each step of unpacking long enough to be interrupted
        import time
        from samplecnn.datasets.download import archives
        from samplecnn.datasets.download import zip_decrypt
        for module, owner, name in ((archives, archives, "_write"), (zip_decrypt, zip_decrypt._Lane, "put")):
            def slow(*args, real=getattr(owner, name)):
                time.sleep(0.02)
                return real(*args)
            setattr(owner, name, slow)
        zip_decrypt.BLOCK_BYTES = 600
    downloads = tuple(Download(**{**d, "urls": tuple(d["urls"])}) for d in job["downloads"])
    published = Published(downloads, by_hand="", expected=job["expected"])
    network = Network(2.0, 2, 0.01)
    report = prepare(job["name"], job["data_dir"], published=published, network=network, workers=job["workers"])
    print(report.text())
    """
)


def start(name, published, data_dir, slow=False, workers=1):
    job = {
        "name": name,
        "data_dir": str(data_dir),
        "downloads": [vars(download) for download in published.downloads],
        "expected": published.expected,
        "slow": slow,
        "workers": workers,
    }
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, json.dumps(job)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )


def until(condition, process):
    """Waits for the process to get that far; the limit of the whole test ends it where it never does."""
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_killed_while_downloading_is_resumed(server, tmp_path, how):
    published, files = serve(server, "scd")
    name = "speech_commands_v0.02.tar.gz"
    body = files[name] + b"\0" * 3_000_000  # zeros after a gzip stream are padding: the same archive, but larger
    server.put(f"mirror/{name}", body)
    checksum = f"sha256:{hashlib.sha256(body).hexdigest()}"
    downloads = tuple(replace(d, size=len(body), checksum=checksum) for d in published.downloads)
    published = replace(published, downloads=downloads)
    server.pace = 0.05
    part = tmp_path / "scd" / "raw" / f"{name}.part"
    process = start("scd", published, tmp_path)
    until(lambda: part.exists() and part.stat().st_size > 300_000, process)
    process.send_signal(how)
    process.communicate()
    assert process.returncode != 0
    have = part.stat().st_size
    assert 300_000 <= have < len(body)
    server.pace = 0.0
    report = prepare("scd", tmp_path, published=published, network=QUICK)
    assert report.complete and server.requests[-1][1]["Range"] == f"bytes={have}-"
    assert not part.exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mtt", "scd", "dcs"])
def test_killed_while_unpacking_is_resumed(server, tmp_path, name):
    published, _ = serve(server, name)
    raw = tmp_path / name / "raw"
    archives = sum(bool(download.unpack) and bool(download.urls) for download in published.downloads)
    process = start(name, published, tmp_path, slow=True)
    until(lambda: len([file for file in layout(raw) if file.endswith((".mp3", ".wav"))]) > 5, process)
    process.kill()
    process.communicate()
    before = {file: (raw / file).stat().st_ino for file in layout(raw) if file.endswith((".mp3", ".wav"))}
    assert 5 < len(before) < sum(published.expected.values() or [94])
    asked = len(server.requests)
    report = prepare(name, tmp_path, published=published, network=QUICK)
    assert report.missing == 0 and (report.complete or name == "dcs")
    assert len(server.requests) - asked < archives + 3 and asked > 0
    assert all((raw / file).stat().st_ino == inode for file, inode in before.items())  # not written a second time
    assert not [file for file in layout(raw) if ".part" in file or ".zip" in file or ".tar" in file]


@pytest.mark.slow
def test_workers_of_a_killed_run_exit(server, tmp_path):
    audio = {f"{TRAINING}/{number}.wav": os.urandom(20_000) for number in range(40)}
    body = encrypted_zip(audio, "p")
    published = Published((Download("a.zip", (server.put("a.zip", body),), unpack="zip", password="p"),), by_hand="")
    raw = tmp_path / "own" / "raw"
    process = start("own", published, tmp_path, workers=2)
    until(lambda: (raw / TRAINING).exists() and len(list((raw / TRAINING).glob("*.wav"))) > 2, process)
    process.kill()
    process.communicate()  # returns when the last worker has closed what it inherited
    assert len(list((raw / TRAINING).glob("*.wav"))) < 40  # they did not unpack the rest
    report = prepare("own", tmp_path, published=published, network=QUICK)
    assert report.unpacked == {"a.zip": 40}
    assert {path.name: path.read_bytes() for path in (raw / TRAINING).iterdir()} == {
        Path(name).name: data for name, data in audio.items()
    }


@pytest.mark.slow
def test_killed_repeatedly_completes_in_the_end(server, tmp_path):
    published, _ = serve(server, "dcs")
    raw = tmp_path / "dcs" / "raw"
    for kill_at in (1, 4, 7, 20, 45, 80):  # files in raw/, of the 100 in the end
        process = start("dcs", published, tmp_path, slow=True)
        while process.poll() is None and len(layout(raw)) < kill_at:
            time.sleep(0.002)
        process.kill()
        process.communicate()
    report = prepare("dcs", tmp_path, published=published, network=QUICK)
    assert report.missing == 0 and sum(report.sizes.values()) == 94
    assert not [file for file in layout(tmp_path / "dcs" / "raw") if ".part" in file or ".zip" in file]


class Killed(BaseException):
    """Ends `prepare` where it is raised: nothing catches it, so the disk stays as a kill would leave it."""


class Kill:
    """Ends `prepare` at the given rename or removal in raw/ or raw/.prepared, just before it or just after it."""

    def __init__(self, raw, after, at=None):
        self.folders, self.after, self.at, self.count = (raw, raw / ".prepared"), after, at, 0

    def into(self, patch):
        for name in ("replace", "unlink"):
            patch.setattr(Path, name, self._patched(getattr(Path, name)))

    def _patched(self, real):
        def call(path, *args, **options):
            self._reach(path, after=False)
            result = real(path, *args, **options)
            self._reach(path, after=True)
            return result

        return call

    def _reach(self, path, after):
        if path.parent in self.folders and after == self.after:
            self.count += 1
        if self.at is not None and self.count > self.at:  # a killed process also does nothing while it unwinds
            raise Killed


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", ["mtt", "scd", "dcs"])
def test_killed_at_any_rename_or_removal_leaves_nothing_behind(server, tmp_path, monkeypatch, name, after):
    published, _ = serve(server, name)

    def killed_run(folder, at):
        kill = Kill(folder / name / "raw", after, at)
        with monkeypatch.context() as patch:
            kill.into(patch)
            if at is None:
                prepare(name, folder, published=published, network=QUICK)
            else:
                with pytest.raises(Killed):
                    prepare(name, folder, published=published, network=QUICK)
        return kill.count

    points = killed_run(tmp_path / "whole", None)
    assert points > 8
    expected = layout(tmp_path / "whole" / name / "raw")
    for at in range(points):
        killed_run(tmp_path / str(at), at)
        report = prepare(name, tmp_path / str(at), published=published, network=QUICK)
        assert not report.missing
        assert layout(tmp_path / str(at) / name / "raw") == expected, f"killed at {at}"


@pytest.mark.skipif(sys.platform == "win32", reason="no file locks there")
def test_second_run_at_the_same_time_is_refused(server, tmp_path, monkeypatch):
    import fcntl

    published, _ = serve(server, "scd")
    (tmp_path / "scd" / "raw" / ".prepared").mkdir(parents=True)
    monkeypatch.setattr("samplecnn.datasets.download.records.LOCK_TIMEOUT", 0.2)
    with (tmp_path / "scd" / "raw" / ".prepared" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another `samplecnn prepare` is running here"):
            prepare("scd", tmp_path, published=published, network=QUICK)
    assert prepare("scd", tmp_path, published=published, network=QUICK).complete
