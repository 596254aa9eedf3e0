"""`samplecnn analyze MODEL explain CLIP`: sentences on stdout, pictures, a table."""

import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from samplecnn.analysis.explained_window import Settings
from samplecnn.analysis.explainer import WINDOWS, explain, explain_over_time
from samplecnn.analysis.explanation import COLUMNS, Explanation
from samplecnn.analysis.output_paths import check_output, output_folder
from samplecnn.analysis.plots.explanation import draw_explanation
from samplecnn.evaluation.probabilities import load_on_device
from samplecnn.system import log
from samplecnn.system.allocator import keep_freed_memory
from samplecnn.system.csv_cells import csv_row
from samplecnn.system.files import written_aside
from samplecnn.system.plotting import save_figure, use_available_fonts

PICTURES, TABLES = (".png", ".svg", ".pdf"), (".csv", ".parquet", ".json")
WriteRows = Callable[[Explanation], Any]


def run_explain(
    model: str,
    clip: str,
    tags: Sequence[str] = (),
    top: int | None = None,
    max_windows: int = WINDOWS,
    over_time: bool = False,
    output: str | None = None,
    picture: str | None = None,
    table: str | None = None,
    settings: Settings | None = None,
    device: str | None = None,
    accept_truncated: bool = False,
) -> list[Path]:
    """`explain` with a progress bar on stderr and its sentences on stdout.

    Args:
        model, clip, tags, top, settings, device, accept_truncated: as for `explain`.
        max_windows: windows of one picture.
        over_time: explains all windows, not only the clearest; every `max_windows` become a page of a .pdf or a
            numbered picture.
        output: folder of the picture; see `output_paths.output_folder`.
        picture: path of the picture instead, as PNG, SVG or PDF by its suffix; None: explain-CLIP.png in `output`.
        table: path of the table, as CSV, Parquet or JSON by its suffix.

    Returns:
        The written files, which are also listed on stderr.

    Raises:
        UsageError: an unknown suffix, no such model or tag, or a folder that cannot be written; raised before the work
            begins.
        AudioError: the recording cannot be used.
    """
    loaded = load_on_device(model, device)
    chosen = Path(picture) if picture is not None else output_folder(model, output) / f"explain-{_stem(clip)}.png"
    check_output(chosen, PICTURES, "picture")
    if table is not None:
        check_output(Path(table), TABLES, "table")
    keep_freed_memory()
    found: Iterable[Explanation]
    options: dict[str, Any] = {"tags": tags, "top": top, "settings": settings, "accept_truncated": accept_truncated}
    if over_time:
        found = explain_over_time(loaded, clip, windows_per_page=max_windows, progress=True, **options)
    else:
        found = [explain(loaded, clip, max_windows=max_windows, progress=True, **options)]
    with ExitStack() as stack:
        pages = stack.enter_context(_pages(chosen, over_time))
        write_rows = stack.enter_context(_table(Path(table))) if table is not None else None
        for explanation in found:
            for text in explanation.words():
                log.show(text)
            pages(draw_explanation(explanation), explanation)
            if write_rows is not None:
                write_rows(explanation)
        written = list(pages.written)
        short = explanation.recording_tags.samples < explanation.task.window
    sys.stdout.flush()
    if table is not None:
        written.append(Path(table))
    for remark in explanation.recording_tags.remarks.notes:
        log.warn(f"{clip}: {remark}")
    if short:
        task, seconds = explanation.task, explanation.recording_tags.seconds
        log.note(
            f"{clip}: {seconds:.2f} s are shorter than the model's window of {task.window / task.sample_rate:.2f} s; "
            f"the clip was padded as in training ({task.padding})"
        )
    for path in written:
        log.note(f"{'table' if str(path) == table else 'picture'}: {path}")
    return written


class _Pages:
    """Writes each picture to a separate file, numbered if there are several."""

    def __init__(self, path: Path, several: bool) -> None:
        self.path, self.several = path, several
        self.written: list[Path] = []

    def __call__(self, figure: Any, explanation: Explanation) -> None:
        path = self.path
        if self.several:
            digits = max(len(str(len(explanation.recording_tags.starts))), 3)
            path = path.with_name(f"{path.stem}-{len(self.written) + 1:0{digits}}{path.suffix}")
        self.written.append(save_figure(figure, path))


class _PdfPages(_Pages):
    """Writes all pictures to one PDF."""

    def __init__(self, path: Path, document: Any) -> None:
        super().__init__(path, False)
        self.document = document

    def __call__(self, figure: Any, explanation: Explanation) -> None:
        use_available_fonts(figure)
        self.document.savefig(figure, facecolor=figure.get_facecolor())
        self.written = [self.path]


@contextmanager
def _pages(path: Path, several: bool) -> Iterator[_Pages]:
    if path.suffix.lower() == ".pdf" and several:
        from matplotlib.backends.backend_pdf import PdfPages

        content = io.BytesIO()  # on a full disk, matplotlib would raise its own errors
        with written_aside(path) as aside:
            with PdfPages(content) as document:
                yield _PdfPages(path, document)
            aside.write_bytes(content.getbuffer())
    else:
        yield _Pages(path, several)


@contextmanager
def _table(path: Path) -> Iterator[WriteRows]:
    """Yields a function that writes the rows of an explanation; the file appears when it is complete."""
    suffix = path.suffix.lower()
    with written_aside(path) as aside:
        if suffix == ".parquet":
            import pyarrow as pa
            from pyarrow import parquet

            types = {"tag": pa.string(), "method": pa.string(), "window": pa.int64()}
            schema = pa.schema([(name, types.get(name, pa.float64())) for name in COLUMNS])
            with parquet.ParquetWriter(aside, schema) as writer:
                yield lambda explanation: writer.write_table(pa.Table.from_pylist(list(explanation.rows()), schema))
            return
        with aside.open("w", encoding="utf-8", newline="") as file:
            if suffix == ".csv":
                file.write(csv_row(COLUMNS))
                yield lambda explanation: file.writelines(
                    csv_row(_rounded(row)[name] for name in COLUMNS) for row in explanation.rows()
                )
                return
            file.write("[")

            def write(explanation: Explanation) -> None:
                for row in explanation.rows():
                    file.write(("\n" if file.tell() == 1 else ",\n") + log.json_text(_rounded(row)))

            yield write
            file.write("\n]\n")


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    """Floats with six significant digits, the precision of float32."""
    return {name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in row.items()}


def _stem(clip: str) -> str:
    """A file name for the results of a clip; a record PATH#NUMBER keeps its number."""
    return re.sub(r"\.tfrecord#", "-", Path(clip).name) if "#" in clip else Path(clip).stem
