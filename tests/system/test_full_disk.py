"""A disk that is full at any moment of any command: one line that names the file, and nothing half-written.

Without the rights to mount a small disk, a limit on the size of files does the same: every library sees its write fail.
"""

import os
import signal
import subprocess
import sys

import pytest
import soundfile

pytest.importorskip("torch", reason="a training needs PyTorch")
resource = pytest.importorskip("resource", reason="no limits on processes on this system")
RUN = "log/20261122_101500-sounds-se_multi"
SMALL_RUN = ("--features", "8", "--num-stages", "1", "--max-epochs", "1")


def limited(kilobytes, *words, cwd):
    """Runs a command that may not write a file beyond this size."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes << 10, kilobytes << 10))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    command = [sys.executable, "-m", "samplecnn", *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, preexec_fn=limit)


def limited_here(kilobytes, words, monkeypatch, capsys, cwd):
    """The same in this process, without what a new one spends on imports."""
    from samplecnn.cli.app import main

    monkeypatch.chdir(cwd)
    monkeypatch.setattr(sys, "argv", ["samplecnn", *words])
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    handlers = {kind: signal.getsignal(kind) for kind in (signal.SIGXFSZ, signal.SIGTERM)}
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes << 10, usual[1]))
    code = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
        for kind, handler in handlers.items():
            signal.signal(kind, handler)
    return subprocess.CompletedProcess(words, code, *capsys.readouterr())


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("kilobytes", "words", "named"),
    [
        (8, ("export", RUN, "{out}/x.h5", "--to", "keras-h5"), "x.h5"),
        (40, ("export", RUN, "{out}/x.h5", "--to", "keras-h5"), "x.h5"),
        (4, ("convert", RUN, "{out}/m"), "m/model.safetensors"),
        (4, ("eval", "sounds", RUN, "--pictures", "{out}"), "confusion.png"),
        (4, ("analyze", RUN, "summary", "-o", "{out}"), "summary.png"),
        (4, ("analyze", RUN, "filters", "--steps", "1", "-o", "{out}"), "filters.parquet"),
        (4, ("analyze", RUN, "excitations", "sounds", "-o", "{out}"), "excitations.parquet"),
        (2, ("analyze", RUN, "explain", "short.wav", "--over-time", "--picture", "{out}/x.pdf"), "x.pdf"),
        (1, ("tag", RUN, "sounds", "--format", "json", "-o", "{out}/x.json"), "x.json"),
        (1, ("build", "demo", "--data-dir", "{out}"), "demo/raw/"),
    ],
)
def test_one_line_that_names_the_file_and_nothing_left(
    workspace, tmp_path, monkeypatch, capsys, kilobytes, words, named
):
    words = [word.format(out=tmp_path) for word in words]
    soundfile.write(workspace / "short.wav", soundfile.read(workspace / "hum.wav")[0][:1500], 8000)
    if kilobytes == 8 or words[0] == "build":
        done = limited(kilobytes, *words, cwd=workspace)
    else:
        done = limited_here(kilobytes, words, monkeypatch, capsys, workspace)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    (error,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert error.startswith(f"error: {tmp_path}/") and named in error and "File too large" in error
    assert [name for name in files_in(tmp_path) if not name.endswith("generated.json")] == []


@pytest.mark.parametrize(
    ("kilobytes", "named", "kept"),
    [(1, "checkpoint.pt", False), (130, "final-auc", True)],
)
def test_a_training_names_the_file_and_keeps_the_last_checkpoint(
    workspace, tmp_path, monkeypatch, capsys, kilobytes, named, kept
):
    """The .h5 at the end is the largest file."""
    words = ["train", "sounds", "--log-dir", str(tmp_path), "--recipe", "original", *SMALL_RUN]
    done = limited_here(kilobytes, words, monkeypatch, capsys, workspace)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    (error,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert error.startswith(f"error: {tmp_path}/") and named in error and "File too large" in error
    names = files_in(tmp_path)
    assert not [name for name in names if name.endswith(".part")]
    assert any(name.endswith("checkpoint.pt") for name in names) == kept
    assert ("train --resume" in error) == kept


def test_events_that_cannot_be_written_are_an_error_of_the_call(tmp_path):
    from samplecnn.training.logging import Events

    events = Events(tmp_path)
    os.dup2(os.open(os.devnull, os.O_RDONLY), events.file.fileno())  # from now on, writing fails
    with pytest.raises(OSError, match="Bad file descriptor"):
        for step in range(10_000):
            events.add("loss", 0.5, step)
    events.close()
