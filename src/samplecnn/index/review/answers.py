"""The answers of reviewers: a file of JSON lines in the folder of the index, to which every answer is appended at once.

A line is one answer; a later one for the same class and place replaces it, and "undo" removes it. A recording is known
by its content (SHA-256), so that answers survive a rename and an update of the index. A line without an end is of a
process that was killed: readers ignore it, the next writer removes it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from samplecnn import parsing
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.index.parts import escaped
from samplecnn.system.locks import locked
from samplecnn.system.log import json_text

NAME = "review.jsonl"
ACCEPT, REJECT, RELABEL, SKIP, UNDO = "accept", "reject", "relabel", "skip", "undo"
VERDICTS = (ACCEPT, REJECT, RELABEL, SKIP)
REMEDY = "remove this line, or move the file away to begin again"
_RULE = parsing.fields(
    {
        "class": parsing.text(1000, least=1),
        "answer": parsing.choice(*VERDICTS, UNDO),
        "label": parsing.or_null(parsing.text(1000, least=1)),
        "sha256": parsing.text(64),
        "start": parsing.number(0, 1e9),
        "end": parsing.number(0, 1e9),
        "path": parsing.text(parsing.MAX_PATH),
        "score": parsing.number(0, 1),
        "order": parsing.text(100),
        "time": parsing.text(100),
    },
    optional=["label", "end", "path", "score", "order", "time"],
)


class Key(NamedTuple):
    """What an answer is about: a class, a recording's content, and the start of a window in milliseconds."""

    name: str
    sha256: str
    milliseconds: int


@dataclass(frozen=True)
class Answer:
    """What a reviewer said about a window.

    Args:
        name: the class that was asked for.
        verdict: "accept": it is there; "reject": it is not; "relabel": it is not, but `label` is; "skip": no answer.
        sha256: of the recording.
        start, end: of the window in seconds.
        label: the class that was named instead.
        path: of the recording at that time.
        score: of the class at that time.
        order: in which windows were offered (`candidates.ORDERS`).
        time: when it was given, ISO 8601.
    """

    name: str
    verdict: str
    sha256: str
    start: float
    end: float = 0.0
    label: str | None = None
    path: str = ""
    score: float = 0.0
    order: str = ""
    time: str = ""

    @property
    def key(self) -> Key:
        return Key(self.name, self.sha256, round(self.start * 1000))

    @property
    def right(self) -> bool | None:
        """Whether the class is there; None where the answer does not say."""
        return None if self.verdict == SKIP else self.verdict == ACCEPT

    def to_line(self, verdict: str = "") -> bytes:
        values = {
            "class": self.name,
            "answer": verdict or self.verdict,
            "label": self.label,
            "sha256": self.sha256,
            "start": self.start,
            "end": self.end,
            "path": escaped(self.path),
            "score": self.score,
            "order": self.order,
            "time": self.time,
        }
        return (json_text({name: value for name, value in values.items() if value is not None}) + "\n").encode()

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Answer":
        known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        return cls(**known, name=values["class"], verdict=values["answer"])


Answers = dict[Key, Answer]


def read_answers(folder: str | Path) -> Answers:
    """The answers in an index, in the order in which they were given.

    Raises:
        UsageError: a line that is no answer; the message names it.
    """
    path = Path(folder) / NAME
    return {} if not path.exists() else _replay(parsing.read_bytes(path, REMEDY, UsageError), path)


def _replay(data: bytes, path: Path) -> Answers:
    answers: Answers = {}
    for number, line in enumerate(data.split(b"\n")[:-1], 1):  # behind the last line break there is half a line at most
        if not line.strip():
            continue
        answer = Answer.of(parsing.parse_object(line, f"{path}, line {number}", REMEDY, _RULE, UsageError))
        answers.pop(answer.key, None)
        if answer.verdict != UNDO:
            answers[answer.key] = answer
    return answers


class AnswerFile:
    """The answers of an index, open for more; `open_answers` gives one.

    Attributes:
        answers: all that count, in the order in which they were given.
    """

    def __init__(self, path: Path, answers: Answers, descriptor: int) -> None:
        self.path, self.answers = path, answers
        self._descriptor = descriptor

    def add(self, answer: Answer) -> None:
        """Stores an answer; when this returns, it is on the disk."""
        self._append(answer.to_line())
        self.answers.pop(answer.key, None)
        self.answers[answer.key] = answer

    def undo(self) -> Answer | None:
        """Takes the last answer back; None where there is none."""
        if not self.answers:
            return None
        last = next(reversed(self.answers.values()))
        self._append(last.to_line(UNDO))
        return self.answers.pop(last.key)

    def _append(self, line: bytes) -> None:
        size = os.fstat(self._descriptor).st_size
        try:
            written = 0
            while written < len(line):
                written += os.write(self._descriptor, line[written:])
            os.fsync(self._descriptor)
        except OSError as error:
            os.ftruncate(self._descriptor, size)
            raise SampleCNNError(f"{self.path}: the answer cannot be stored ({error.strerror or error})") from error


@contextmanager
def open_answers(folder: str | Path) -> Iterator[AnswerFile]:
    """Opens the answers of an index for more; one process at a time.

    Raises:
        UsageError: another process has them open, or a line is no answer.
    """
    path = Path(folder) / NAME
    with locked(path, f"{path}: another `samplecnn index review` has it open; end that one first"):
        data = parsing.read_bytes(path, REMEDY, UsageError)
        answers = _replay(data, path)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
        try:
            whole = data.rfind(b"\n") + 1
            if whole < len(data):
                os.ftruncate(descriptor, whole)
            yield AnswerFile(path, answers, descriptor)
        finally:
            os.close(descriptor)
