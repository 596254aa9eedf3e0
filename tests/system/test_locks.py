"""Locks: one holder at a time, gone with the process that held it, and bound to the file rather than to its name."""

import subprocess
import sys

import pytest

from samplecnn.errors import UsageError
from samplecnn.system.locks import locked

pytest.importorskip("fcntl")


@pytest.mark.parametrize("kind", ["folder", "file", "new file"])
def test_a_second_holder_is_refused_in_one_line(tmp_path, kind):
    path = tmp_path / "x"
    if kind == "folder":
        path.mkdir()
    elif kind == "file":
        path.write_bytes(b"kept")
    with locked(path, "in use; wait"):
        with pytest.raises(UsageError, match=r"^in use; wait$"), locked(path, "in use; wait"):
            pytest.fail("two holders")
        if kind == "file":
            assert path.read_bytes() == b"kept"
    with locked(path, "in use; wait"):
        pass


def test_a_lock_ends_with_its_process(tmp_path):
    program = (
        "import sys, time; from samplecnn.system.locks import locked\n"
        "with locked(sys.argv[1], 'busy'): print('held', flush=True); time.sleep(600)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", program, tmp_path / "x"], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(UsageError, match="busy"), locked(tmp_path / "x", "busy"):
        pytest.fail("two holders")
    holder.kill()
    holder.communicate()
    with locked(tmp_path / "x", "busy", wait=60):
        pass


def test_a_file_that_was_renamed_does_not_lock_its_old_name(tmp_path):
    with locked(tmp_path / "x.part", "busy"):
        (tmp_path / "x.part").rename(tmp_path / "x")
        with locked(tmp_path / "x.part", "busy"):
            assert (tmp_path / "x.part").exists()
        with pytest.raises(UsageError), locked(tmp_path / "x", "busy"):
            pytest.fail("the renamed file is still locked")
