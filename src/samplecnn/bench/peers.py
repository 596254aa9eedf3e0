"""Other programs as contenders, each in a process of the interpreter that has its packages."""

import json
import subprocess
from pathlib import Path
from typing import Any

from samplecnn.errors import SampleCNNError

PROGRAMS = Path(__file__).resolve().parents[3] / "benchmarks" / "peers"  # in a source checkout; not in a wheel


class Peer:
    """A program that does the work of a contender, in a separate process.

    Once ready, the program prints a JSON object that describes it, such as {"tensorflow": "2.21.0"}. For each line on
    its stdin it does the work once and prints {"units": ...}. It is timed by this process, like every contender.

    Raises:
        SampleCNNError: the program ended before it was ready.
    """

    def __init__(self, python: str | Path, program: Path, *arguments: object) -> None:
        command = [str(python), str(program), *map(str, arguments)]
        self.name = program.stem
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.about = self._answer()

    def __call__(self) -> int:
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return int(self._answer()["units"])

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout and self.process.stderr
        line = self.process.stdout.readline()
        if not line:
            last = self.process.stderr.read().strip().splitlines()[-1:] or ["no message"]
            raise SampleCNNError(f"{self.name}: its process ended ({last[0]})")
        return json.loads(line)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
