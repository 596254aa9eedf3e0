"""What is done with what was heard: lines of JSON or text, and a command for every event."""

import os
import shlex
import shutil
import subprocess
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from samplecnn import __version__
from samplecnn.errors import UsageError
from samplecnn.listening.detector import Heard
from samplecnn.listening.listener import Listener, Moment
from samplecnn.recordings import counted
from samplecnn.system import log
from samplecnn.tagging.provenance import decoder, model_digest

FORMATS = ("auto", "live", "text", "jsonl")
MAX_COMMANDS = 4  # that run at the same time; further events wait for nobody
FIELDS = ("label", "score", "time", "start", "end", "threshold")


class Finished(Exception):
    """The user has ended it."""


class SoundName(NamedTuple):
    """What outputs know of a source: its name, and whether its times are times of day."""

    name: str
    live: bool


class Output(Protocol):
    """Something that is given every moment; `show` raises Finished when the user has ended it."""

    def show(self, moment: Moment) -> None: ...

    def close(self) -> None: ...


def about(listener: Listener, source: SoundName, model: str) -> dict[str, Any]:
    """What is heard by what: source, model and its hash, program, engine, hop, rules, thresholds of all classes."""
    limits = zip(listener.task.classes, map(float, listener.detector.thresholds), strict=True)
    return {
        "source": source.name,
        "model": model,
        "model_sha256": model_digest(model),
        "samplecnn": __version__,
        "engine": listener.engine.name,
        "precision": listener.engine.precision,
        "hop": listener.hop / listener.task.sample_rate,
        "decoder": decoder(),
        "rules": asdict(listener.detector.rules),
        "thresholds": dict(limits),
    }


class JsonLines:
    """One JSON object a line on stdout, flushed.

    Args:
        about: what the first line says beside {"type": "start"}.
        kinds: of `Heard` that get a line.
        live: lines have the time of day, `at`.
    """

    def __init__(self, about: dict[str, Any], kinds: tuple[str, ...], live: bool) -> None:
        self.kinds, self.live = kinds, live
        self._about: dict[str, Any] | None = about

    def show(self, moment: Moment) -> None:
        if self._about is not None:  # not before there was sound
            self._write({"type": "start", **self._about})
            self._about = None
        for heard in moment.heard:
            if heard.kind in self.kinds:
                self._write(heard.to_dict())

    def close(self) -> None: ...

    def _write(self, values: dict[str, Any]) -> None:
        now = {"at": datetime.now(UTC).isoformat(timespec="milliseconds")} if self.live else {}
        log.show(log.json_text({**values, **now}))


class Text:
    """One line of text for each thing heard."""

    def __init__(self, kinds: tuple[str, ...]) -> None:
        self.kinds = kinds

    def show(self, moment: Moment) -> None:
        for heard in moment.heard:
            if heard.kind in self.kinds:
                log.show(text_of(heard))

    def close(self) -> None: ...


def text_of(heard: Heard) -> str:
    """What was heard, in one line for people.

    Example:
        >>> text_of(Heard("near", "left", 0.41, 0.62, 12.3, 11.0, 12.3))
        '     12.3 s  (left 0.41 < 0.62)'
    """
    label = log.one_line(heard.label)
    if heard.kind == "near":
        said = f"({label} {heard.score:.2f} < {heard.threshold:.2f})"
    elif heard.kind == "end":
        said = f"{label} ended after {heard.end - heard.start:.1f} s"
    else:
        said = f"{label} {heard.score:.2f}"
    return f"{heard.time:9.1f} s  {said}"


class Command:
    """Runs a program for every event, without a shell and without waiting for it.

    Args:
        text: the program and its arguments as a shell would split them. {label}, {score}, {time}, {start}, {end} and
            {threshold} are replaced in each argument; the program also gets SAMPLECNN_LABEL and so on.

    Raises:
        UsageError: no such program, or a name in braces that is not one of these.
    """

    def __init__(self, text: str) -> None:
        try:
            self.words = shlex.split(text)
            if not self.words:
                raise ValueError("it is empty")
            [word.format(**dict.fromkeys(FIELDS, "")) for word in self.words]
        except (ValueError, KeyError, IndexError, AttributeError) as error:
            raise UsageError(f"--command {text!r}: {error}; names in braces are {', '.join(FIELDS)}") from error
        if shutil.which(self.words[0]) is None:
            raise UsageError(f"--command {text!r}: there is no program {self.words[0]!r} on the search path")
        self.running: list[subprocess.Popen[bytes]] = []
        self.skipped = self.failed = 0

    def show(self, moment: Moment) -> None:
        for heard in moment.heard:
            if heard.kind == "event":
                self._run(heard)

    def close(self) -> None:
        """Waits for programs that still run, 5 s at most, and says what went wrong."""
        until = time.monotonic() + 5
        while self.running and time.monotonic() < until:
            self._collect()
            time.sleep(0.01)
        if self.skipped:
            skipped = counted(self.skipped, "event", "events")
            log.warn(f"--command was not run for {skipped}: {MAX_COMMANDS} were still running")
        if self.failed:
            log.warn(f"--command failed for {counted(self.failed, 'event', 'events')}")

    def _run(self, heard: Heard) -> None:
        self._collect()
        if len(self.running) >= MAX_COMMANDS:
            self.skipped += 1
            return
        given = heard._asdict().items()
        values = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in given}
        words = [word.format(**{name: values[name] for name in FIELDS}) for word in self.words]
        environment = {**os.environ, **{f"SAMPLECNN_{name.upper()}": str(values[name]) for name in FIELDS}}
        try:
            self.running.append(subprocess.Popen(words, stdin=subprocess.DEVNULL, env=environment))
        except (OSError, ValueError):  # ValueError: a zero byte in a label
            self.failed += 1

    def _collect(self) -> None:
        still = [program for program in self.running if program.poll() is None]
        self.failed += sum(program.returncode != 0 for program in self.running if program not in still)
        self.running = still
