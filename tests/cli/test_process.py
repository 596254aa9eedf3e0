"""The command as a process: any text on any stream, signals, and one line for every error of the system."""

import errno
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

from samplecnn.cli.process import INTERRUPTED, TERMINATED, run
from samplecnn.errors import SampleCNNError
from samplecnn.system.log import json_text, printable
from samplecnn.training.checkpoint import CHECKPOINT, load_checkpoint


def run_in_process(body: str, env=None, **more) -> subprocess.CompletedProcess:
    """Runs a function through `run` in a new Python, as a command is run."""
    indented = body.replace("\n", "\n    ")
    code = f"import os, signal, sys\nfrom samplecnn.cli.process import run\ndef work():\n    {indented}\nrun(work)"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **(env or {})}, **more
    )


@pytest.mark.parametrize(
    "code",
    ["ENOTDIR", "EEXIST", "ENAMETOOLONG", "ELOOP", "EMFILE", "EISDIR", "EIO", "ENOSPC", "EACCES", "ENXIO", "ETXTBSY"],
)
def test_every_error_of_the_system_is_one_line(code, capsys):
    def work():
        raise OSError(getattr(errno, code), os.strerror(getattr(errno, code)), "some/file")

    with pytest.raises(SystemExit) as ended:
        run(work)
    said = capsys.readouterr().err
    assert ended.value.code == 1 and said.startswith(f"error: some/file: {os.strerror(getattr(errno, code))}; ")
    assert len(said.splitlines()) == 1


def test_errors_without_a_file_and_endless_nesting(capsys):
    for error in (OSError("odd"), OSError(), RecursionError()):
        with pytest.raises(SystemExit):
            run(lambda error=error: (_ for _ in ()).throw(error))
        assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        ImportError("x.so: failed to map segment from shared object"),
        RuntimeError("can't start new thread"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory:\n12 bytes"),
    ],
)
def test_a_lack_of_memory_is_one_line(error, capsys):
    def work():
        try:
            raise error
        except Exception as cause:
            raise type(error)("and then it went on") from cause

    with pytest.raises(SystemExit) as ended:
        run(work)
    said = capsys.readouterr().err
    assert ended.value.code == 1 and said.startswith("error: not enough memory (") and len(said.splitlines()) == 1


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    for error in (RuntimeError("a bug"), ImportError("cannot import name 'a'")):
        with pytest.raises(type(error)):
            run(lambda error=error: (_ for _ in ()).throw(error))


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited only on Linux")
@pytest.mark.parametrize("words", [["train", "sounds"], ["eval", "sounds", "run"], ["analyze", "run", "filters"]])
def test_too_little_address_space_for_pytorch_is_one_line(words):
    command = f"ulimit -v 1000000; exec {shlex.join([sys.executable, '-m', 'samplecnn', *words])}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert (
        done.stderr.startswith("error: samplecnn ") and "GB of address space, but it is limited to 1.0" in done.stderr
    )


def test_control_characters_of_names_are_shown_and_not_sent(capsys):
    def work():
        raise SampleCNNError("a\x1b[2J\rb\x07.wav: café \udcff cannot be read")

    with pytest.raises(SystemExit):
        run(work)
    assert capsys.readouterr().err == "error: a\\x1b[2J\\rb\\x07.wav: café \\udcff cannot be read\n"
    assert printable("two\nlines\tand\u2028more") == "two\nlines\tand\\u2028more"


def test_control_characters_in_json_are_escaped():
    names = ["a\x1b[2J\x9b2J", "left\u202eright", "café 犬", "\udcff", "two\nlines", "\U000e0041"]
    for indent in (None, 2):
        text = json_text(names, indent)
        assert json.loads(text) == names and text.replace("\n", "").isprintable() and "café 犬" in text
        assert text.encode()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_names_that_the_terminal_cannot_encode_are_escaped(encoding):
    done = run_in_process("print('犬')\nprint('犬', file=sys.stderr)", {"PYTHONIOENCODING": encoding})
    assert (done.returncode, done.stdout, done.stderr) == (0, "\\u72ac\n", "\\u72ac\n")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_take_everything(closed):
    code = (
        "import sys; from samplecnn.cli.process import run; from samplecnn.system.progress import Progress;"
        "work = lambda: (print('a'), Progress(1, 'b', 'c').__enter__().__exit__(KeyError, None, None), sys.exit(7)); "
        "run(work)"
    )
    command = f"'{sys.executable}' -c \"{code}\" {closed}"
    assert subprocess.run(["sh", "-c", command], capture_output=True).returncode == 7


def test_a_reader_that_went_away_is_no_error():
    code = "import sys; from samplecnn.cli.process import run; run(lambda: [print('x' * 999) for _ in range(9999)])"
    command = f"'{sys.executable}' -c \"{code}\" | head -c 1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert done.stderr == "" and done.stdout == "x"


@pytest.mark.parametrize(("number", "code", "said"), [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "terminated")])
def test_signals_end_in_one_line(number, code, said):
    assert code in (INTERRUPTED, TERMINATED)
    ignore = "signal.signal(signal.SIGINT, signal.default_int_handler)"  # a shell's background job ignores it
    done = run_in_process(f"{ignore}\nos.kill(os.getpid(), signal.{number})\nsignal.pause()")
    assert (done.returncode, done.stderr) == (code, f"{said}\n")


def test_the_handler_of_sigterm_is_restored():
    before = signal.getsignal(signal.SIGTERM)
    run(lambda: None)
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_second_interrupt_adds_nothing():
    body = (
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import atexit\natexit.register(os.kill, os.getpid(), signal.SIGINT)\nos.kill(os.getpid(), signal.SIGINT)"
    )
    done = run_in_process(body)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


@pytest.mark.slow
def test_sigterm_saves_a_training_like_ctrl_c(built, tmp_path):
    command = [sys.executable, "-m", "samplecnn", "train", str(built / "sounds"), "--data-dir", str(built / "data")]
    command += ["--log-dir", str(tmp_path), "--features", "8", "--batch-size", "2", "--max-epochs", "1000"]
    process = subprocess.Popen(
        [*command, "--patience", "1000", "--recipe", "original"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        time.sleep(0.2)
        runs = list(tmp_path.glob(f"*/{CHECKPOINT}"))
        if runs and load_checkpoint(runs[0].parent).state.total_steps:
            break
    before = load_checkpoint(runs[0].parent).state.total_steps
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    (folder,) = tmp_path.iterdir()
    assert process.returncode == 143 and "Traceback" not in err and f"--resume {folder}" in out
    assert load_checkpoint(folder).state.total_steps >= before > 0


def test_names_in_a_progress_bar_are_not_markup(monkeypatch, tmp_path):
    """On a terminal: "[noise]" and ":bell:" are shown as they are, and control characters are not sent."""
    script = shutil.which("script")
    if not script:
        pytest.skip("no `script` to make a terminal")
    code = (
        "import time\nfrom samplecnn.system.progress import Progress\n"
        "with Progress(2, 'build [noise] :bell: [/x] \\x1b]0;title\\x07', 'clips') as bar:\n"
        "    bar.advance()\n    time.sleep(0.5)"
    )
    (tmp_path / "bar.py").write_text(code)
    command = f"COLUMNS=200 '{sys.executable}' {tmp_path / 'bar.py'}"
    done = subprocess.run([script, "-qec", command, tmp_path / "typescript"], capture_output=True, text=True)
    assert done.returncode == 0 and "build [noise] :bell: [/x] \\x1b]0;title\\x07" in done.stdout.replace("\r\n", "")
