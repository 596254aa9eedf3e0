"""What decides the content of an index, in its settings.json: the model, the hop, the precision, the embedding."""

import os
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from samplecnn import __version__, parsing
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.system.files import write_json
from samplecnn.system.storage import address, is_remote
from samplecnn.task import DESCRIPTION, Task

NAME = "settings.json"
FORMAT_VERSION = 1
REMEDY = "name another folder for the index"
_RULE = parsing.fields(
    {
        "format_version": parsing.whole(1, 1 << 31),
        "model": parsing.file_name(),
        "model_sha256": parsing.text(200),
        "task": DESCRIPTION,
        "precision": parsing.text(200),
        "hop": parsing.or_null(parsing.number(0, above=True)),
        "hop_samples": parsing.whole(1, 1 << 31),
        "embedding": parsing.text(200),
        "embedding_size": parsing.whole(1, 1 << 20),
        "accept_truncated": parsing.flag(),
        "roots": parsing.list_of(parsing.file_name()),
        "made_by": parsing.table_of(parsing.anything()),
    },
    optional=["roots", "made_by"],
)


@dataclass(frozen=True)
class IndexSettings:
    """What an index was made with.

    Args:
        model: the model's name or absolute path.
        model_sha256: hash of all that decides its scores (`tagging.provenance.scores_digest`).
        task: of the model.
        precision: "fp32" or "bf16".
        hop: seconds between windows, as asked for; None: one window.
        hop_samples: between windows.
        embedding: the layer that embeddings are taken from ("hidden", or a block's number).
        embedding_size: values of an embedding.
        accept_truncated: damaged recordings are tagged as far as they can be decoded.
        roots: absolute paths of the files and folders that updates have searched.
        made_by: provenance of the last update that ran the model.
    """

    model: str
    model_sha256: str
    task: Task
    precision: str
    hop: float | None
    hop_samples: int
    embedding: str
    embedding_size: int
    accept_truncated: bool = False
    roots: tuple[str, ...] = ()
    made_by: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        values = {**asdict(self), "task": self.task.to_dict(), "roots": list(self.roots)}
        write_json(folder / NAME, {"format_version": FORMAT_VERSION, "samplecnn": __version__, **values})

    @classmethod
    def read(cls, folder: Path) -> "IndexSettings":
        """The settings of an index.

        Raises:
            UsageError: the folder is no index, or one of a later version, or its settings are damaged.
        """
        path = folder / NAME
        if not path.exists():
            what = "not an index (it has no settings.json)" if folder.is_dir() else "no such index"
            raise UsageError(f"{folder}: {what}; make one with `samplecnn index update`")
        values = parsing.read_object(path, REMEDY, _RULE, UsageError)
        if values["format_version"] > FORMAT_VERSION:
            raise UsageError(f"{folder}: an index of a later version of samplecnn; update samplecnn")
        known = {each.name: values[each.name] for each in fields(cls) if each.name in values}
        try:
            task = Task.from_dict(values["task"])
        except SampleCNNError as error:
            raise UsageError(f"{path}: {error}; {REMEDY}") from error
        return cls(**{**known, "task": task, "roots": tuple(values.get("roots", ()))})

    def about(self) -> dict[str, Any]:
        """What readers of an output should know, as `tagging.tag_files` writes it."""
        about = {"model": self.model, "task": self.task.name, "precision": self.precision, "hop": self.hop}
        made_by = {"engine": self.made_by["engine"]} if "engine" in self.made_by else {}
        shown = {key: value for key, value in {**about, **made_by}.items() if value is not None}
        return {**shown, "provenance": self.made_by}

    def with_roots(self, roots: list[str]) -> "IndexSettings":
        return replace(self, roots=tuple(dict.fromkeys([*self.roots, *roots])))


@dataclass(frozen=True)
class Asked:
    """What an update asks for; None is whatever the index has, or the default of a new one."""

    model: str | None = None
    precision: str = "auto"
    hop: float | None = None
    embedding: str | None = None
    accept_truncated: bool | None = None

    def check(self, folder: Path, known: IndexSettings, digest: str) -> None:
        """Refuses what differs from the index.

        Args:
            folder: of the index.
            known: its settings.
            digest: of the model that is asked for; "" for none.

        Raises:
            UsageError: another model, or another option; both values are named.
        """
        if digest and digest != known.model_sha256:
            raise UsageError(
                f"{folder}: made with the model {known.model} (SHA-256 {known.model_sha256[:12]}), not {self.model} "
                f"({digest[:12]}); leave --model out, or name another index"
            )
        for option, asked, made in (
            ("precision", None if self.precision == "auto" else self.precision, known.precision),
            ("hop", self.hop, known.hop),
            ("embedding-layer", self.embedding, known.embedding),
            ("accept-truncated", self.accept_truncated, known.accept_truncated),
        ):
            if asked is not None and asked != made:
                window = known.task.window / known.task.sample_rate
                shown = f"{window:g} (one window)" if made is None else made
                raise UsageError(
                    f"{folder}: made with --{option} {shown}, not {asked}; leave the option out, or name another index"
                )


def full_path(path: str | Path) -> str:
    """The absolute path under which an index knows a file; links stay."""
    return address(path) if is_remote(path) else os.path.abspath(path)  # noqa: PTH100
