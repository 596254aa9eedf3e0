"""An explanation with all that is kept of it: the words on stdout, the picture, the table."""

import csv
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from samplecnn.analysis.explanation import WINDOWS, Explanation, Settings, explain, explain_over_time
from samplecnn.analysis.explanation_text import COLUMNS, rows
from samplecnn.analysis.paths import check_output, output_folder
from samplecnn.analysis.plots.explanation import draw_explanation
from samplecnn.evaluation.probabilities import load_on_device
from samplecnn.system.allocator import keep_freed_memory
from samplecnn.system.files import written_aside

PICTURES, TABLES = (".png", ".svg", ".pdf"), (".csv", ".parquet", ".json")
DPI = 130


def run_explain(
    model: str,
    clip: str,
    tags: Sequence[str] = (),
    top: int | None = None,
    most_windows: int = WINDOWS,
    over_time: bool = False,
    output: str | None = None,
    picture: str | None = None,
    table: str | None = None,
    settings: Settings | None = None,
    device: str | None = None,
) -> list[Path]:
    """`explain` with a bar on stderr and its words on stdout; returns the files written, which it names on stderr.

    Args:
        most_windows: windows of one picture.
        over_time: all windows, not only the clearest: a page of a .pdf, or a numbered picture, for every few.
        output: folder of the picture; see `places.output_folder`.
        picture: file instead, by its ending PNG, SVG or PDF; None: explain-CLIP.png in `output`.
        table: file, by its ending CSV, Parquet or JSON.

    Raises:
        UsageError: an ending that is not known, no such model or tag, or a folder that cannot be written; found before
            the work begins.
        AudioError: the recording cannot be used.
    """
    loaded = load_on_device(model, device)
    chosen = Path(picture) if picture is not None else output_folder(model, output) / f"explain-{_stem(clip)}.png"
    check_output(chosen, PICTURES, "picture")
    if table is not None:
        check_output(Path(table), TABLES, "table")
    keep_freed_memory()
    settings = settings or Settings()
    found: Iterable[Explanation]
    if over_time:
        found = explain_over_time(loaded, clip, None, tags, top, most_windows, settings, progress=True)
    else:
        found = [explain(loaded, clip, None, tags, top, most_windows, settings, progress=True)]
    with ExitStack() as stack:
        pages = stack.enter_context(_pages(chosen, over_time))
        row = stack.enter_context(_table(Path(table))) if table is not None else None
        for explanation in found:
            for text in explanation.words():
                print(text)
            pages(draw_explanation(explanation), explanation)
            if row is not None:
                row(explanation)
        written = list(pages.written)
        short = explanation.heard.samples < explanation.task.window
    sys.stdout.flush()
    if table is not None:
        written.append(Path(table))
    if short:
        task, seconds = explanation.task, explanation.heard.seconds
        print(
            f"{clip}: {seconds:.2f} s are shorter than the {task.window / task.sample_rate:.2f} s that the model "
            f"listens to at a time; it was filled up as in training ({task.padding})",
            file=sys.stderr,
        )
    for path in written:
        print(f"{'table' if str(path) == table else 'picture'}: {path}", file=sys.stderr)
    return written


class _Pages:
    """Pictures one after the other: numbered files, or one file where there is but one."""

    def __init__(self, path: Path, several: bool) -> None:
        self.path, self.several = path, several
        self.written: list[Path] = []

    def __call__(self, figure: Any, explanation: Explanation) -> None:
        path = self.path
        if self.several:
            digits = max(len(str(len(explanation.heard.starts))), 3)
            path = path.with_name(f"{path.stem}-{len(self.written) + 1:0{digits}}{path.suffix}")
        with written_aside(path) as aside:
            figure.savefig(aside, format=path.suffix[1:].lower(), dpi=DPI, facecolor=figure.get_facecolor())
        self.written.append(path)


class _PdfPages(_Pages):
    """All pictures in one PDF."""

    def __init__(self, path: Path, document: Any) -> None:
        super().__init__(path, False)
        self.document = document

    def __call__(self, figure: Any, explanation: Explanation) -> None:
        self.document.savefig(figure, facecolor=figure.get_facecolor())
        self.written = [self.path]


@contextmanager
def _pages(path: Path, several: bool) -> Iterator[_Pages]:
    if path.suffix.lower() == ".pdf" and several:
        from matplotlib.backends.backend_pdf import PdfPages

        with written_aside(path) as aside, PdfPages(aside) as document:
            yield _PdfPages(path, document)
    else:
        yield _Pages(path, several)


@contextmanager
def _table(path: Path) -> Iterator[Any]:
    """Writes the rows of explanations as they come; the file appears when it is whole."""
    kind = path.suffix.lower()
    with written_aside(path) as aside:
        if kind == ".parquet":
            import pyarrow as pa
            from pyarrow import parquet

            texts = {"tag": pa.string(), "method": pa.string(), "window": pa.int64()}
            schema = pa.schema([(name, texts.get(name, pa.float64())) for name in COLUMNS])
            with parquet.ParquetWriter(aside, schema) as writer:
                yield lambda explanation: writer.write_table(pa.Table.from_pylist(list(rows(explanation)), schema))
            return
        with aside.open("w", encoding="utf-8", newline="") as file:
            if kind == ".csv":
                lines = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                lines.writeheader()
                yield lambda explanation: lines.writerows(_short(row) for row in rows(explanation))
                return
            file.write("[")

            def write(explanation: Explanation) -> None:
                for row in rows(explanation):
                    file.write(("\n" if file.tell() == 1 else ",\n") + json.dumps(_short(row), ensure_ascii=False))

            yield write
            file.write("\n]\n")


def _short(row: dict[str, Any]) -> dict[str, Any]:
    """Six digits, which is what a float32 has."""
    return {name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in row.items()}


def _stem(clip: str) -> str:
    """A file name for the results of a clip; a record PATH#NUMBER keeps its number."""
    return re.sub(r"\.tfrecord#", "-", Path(clip).name) if "#" in clip else Path(clip).stem
