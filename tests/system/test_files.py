"""Where output goes: whole or not at all, through links, into what is no regular file, and never over an input."""

import os
import subprocess
import sys
import threading

import pytest

from samplecnn.errors import UsageError
from samplecnn.system.files import is_regular, refuse_inputs, sweep, write_early, write_text, written_aside
from samplecnn.system.locks import CAN_LOCK, kept_locked


def test_a_file_is_whole_or_absent(tmp_path):
    with pytest.raises(ZeroDivisionError), written_aside(tmp_path / "new" / "x") as aside:
        aside.write_text("half")
        raise ZeroDivisionError
    assert list((tmp_path / "new").iterdir()) == []
    write_text(tmp_path / "new" / "x", "whole")
    with pytest.raises(ZeroDivisionError), written_aside(tmp_path / "new" / "x") as aside:
        aside.write_text("half")
        raise ZeroDivisionError
    assert (tmp_path / "new" / "x").read_text() == "whole" and len(list((tmp_path / "new").iterdir())) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="a system call of Linux")
def test_a_file_is_written_early_as_it_grows(tmp_path):
    with (tmp_path / "x").open("wb") as file:
        for _ in range(2):
            file.write(b"grown")
            file.flush()
            assert write_early(file.fileno())
    reading, writing = os.pipe()
    assert not write_early(writing), "a pipe has no disk"
    os.close(reading)
    os.close(writing)
    assert (tmp_path / "x").read_bytes() == b"growngrown"


def test_parts_of_killed_processes_are_swept(tmp_path):
    names = [".x.1.part", ".x.2.part", ".y.1.part", ".x.part", "x.1.part"]
    for name in names:
        (tmp_path / name).write_text("half")
        os.utime(tmp_path / name, (0, 0))
    with kept_locked(tmp_path / ".x.2.part"):  # which is still being written
        write_text(tmp_path / "x", "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({*names, "x"} - {".x.1.part"})


@pytest.mark.skipif(not CAN_LOCK, reason="no locks on this system")
def test_a_part_is_left_behind_as_soon_as_its_process_is_killed(tmp_path):
    code = (
        "import sys; from samplecnn.system.files import written_aside\n"
        "with written_aside(sys.argv[1]) as aside:\n    aside.write_text('half'); print('writing', flush=True); input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "x"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"writing\n"
    sweep(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1, "it is still being written"
    process.kill()
    process.communicate()
    sweep(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("umask", [0o022, 0o027])
def test_the_mode_is_the_umasks_whatever_the_writer_sets(tmp_path, umask):
    before = os.umask(umask)
    try:
        with written_aside(tmp_path / "x") as aside:
            aside.unlink()
            os.close(os.open(aside, os.O_CREAT | os.O_WRONLY, 0o600))
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_link_stays_and_its_target_is_written(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far" / "x")
    for text in ("made where the link leads nowhere", "and again"):
        write_text(tmp_path / "link", text)
        assert (tmp_path / "link").is_symlink() and (tmp_path / "far" / "x").read_text() == text
    assert len(list((tmp_path / "far").iterdir())) == 1


def test_a_fifo_is_written_into(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    got = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_text()))
    reader.start()
    write_text(tmp_path / "pipe", "through the pipe")
    reader.join()
    assert got == ["through the pipe"] and not is_regular(tmp_path / "pipe")
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"] and (tmp_path / "pipe").is_fifo()


def test_a_dash_is_the_standard_output(tmp_path, capfdbinary, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_text("-", "to the standard output, ü")
    assert capfdbinary.readouterr().out == "to the standard output, ü".encode() and not list(tmp_path.iterdir())


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(UsageError, match="is a folder"):
        write_text(tmp_path, "x")


def test_an_output_that_is_an_input_is_refused(tmp_path):
    for name in ("a.wav", "b.txt", "c.csv"):
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to(tmp_path / "b.txt")
    os.link(tmp_path / "b.txt", tmp_path / "hard")
    inputs = [tmp_path / "missing", tmp_path / "b.txt", "-"]
    for output in ("b.txt", "link", "hard", "./b.txt"):
        with pytest.raises(UsageError, match="is one of the inputs"):
            refuse_inputs(tmp_path / output, inputs)
    with pytest.raises(UsageError, match="would overwrite a recording"):
        refuse_inputs(tmp_path / "a.wav", inputs, {".wav"})
    refuse_inputs(tmp_path / "c.csv", inputs, {".wav"})
    refuse_inputs(tmp_path / "new.wav", inputs, {".wav"})
