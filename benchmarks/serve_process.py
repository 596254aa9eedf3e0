"""A server process, for `serve.py`: its address and its memory."""

import subprocess
from pathlib import Path


class Server:
    """A server process.

    Args:
        command: prints the address first.
        form: sends the file in a form.
    """

    def __init__(self, command: list[str], form: bool, tolerance: float) -> None:
        self.form, self.tolerance = form, tolerance
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line.startswith("http://"):
            raise SystemExit(f"{command[1]} did not start")
        self.host, _, port = line.strip().removeprefix("http://").partition(":")
        self.port = int(port)

    def memory(self) -> float:
        """MB of the process and its children, shared pages counted once (Pss)."""
        return sum(_pss(pid) for pid in _family(self.process.pid)) / 1e3

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(60)


def _family(root: int) -> list[int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
