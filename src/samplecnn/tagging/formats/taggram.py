"""A taggram: waveform, spectrogram and class scores of a recording on a common time axis, as PNG or SVG."""

import io
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from samplecnn.audio import stream
from samplecnn.errors import UsageError
from samplecnn.shards.tfrecord.clips import is_record
from samplecnn.sound_file import STDIN
from samplecnn.tagging.events import window_bounds
from samplecnn.tagging.formats.documents import Document
from samplecnn.tagging.provenance import provenance_lines
from samplecnn.tagging.tags import Tags

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 1000  # approximate number of pixel columns
FRAME = 512  # length of a spectrum's frame in samples
MAX_SPECTRA = 8  # spectra per column; their mean is shown
RANGE = 80.0  # dB; dynamic range of the spectrogram below its maximum
MAX_ROWS = 12  # classes shown
WIDTH, SOUND_HEIGHT, ROW_HEIGHT = 10.0, 3.4, 0.24  # inches


class Outline(NamedTuple):
    """A recording's sound as it is drawn, by column.

    Args:
        low, high: smallest and largest sample, float32 [columns].
        power: mean power spectrum, float32 [columns, FRAME / 2 + 1].
    """

    low: np.ndarray
    high: np.ndarray
    power: np.ndarray


class Taggram(Document):
    """The figure in one of matplotlib's formats. The recording is decoded again for it, in blocks."""

    format: ClassVar[str]
    needs = "matplotlib"
    describes_itself = True

    def text(self, path: str, tags: Tags) -> str:
        return self.content(path, tags).decode("latin-1")

    def content(self, path: str, tags: Tags) -> bytes:
        from samplecnn.system.plotting import use_available_fonts

        if path == STDIN or is_record(path):
            raise UsageError(f"{path}: a taggram needs a recording that can be read twice; use a file")
        sound = outline(stream(path, tags.task.sample_rate, None, True), tags.samples)
        figure = draw(path, tags, sound, self)
        use_available_fonts(figure)
        memory = io.BytesIO()
        about = "; ".join(provenance_lines(self.about))
        metadata: dict[str, Any] = {"Description": about} | ({"Date": None} if self.format == "svg" else {})
        figure.savefig(memory, format=self.format, facecolor=figure.get_facecolor(), metadata=metadata)
        return memory.getvalue()


class TaggramPng(Taggram):
    suffix, format = ".taggram.png", "png"


class TaggramSvg(Taggram):
    suffix, format = ".taggram.svg", "svg"


def outline(pieces: Iterable[np.ndarray], samples: int) -> Outline:
    """Waveform and spectrum of a recording in about `COLUMNS` columns; only a few columns of sound are in memory at a
    time.

    Args:
        pieces: the recording in blocks, each float32 [samples].
        samples: total number of samples, at least 1.
    """
    count = max(min(COLUMNS, samples * 4 // FRAME), 1)
    edges = np.arange(count + 1) * samples // count
    window = np.hanning(FRAME + 1)[:-1].astype(np.float32)
    low, high = np.zeros(count, np.float32), np.zeros(count, np.float32)
    power = np.zeros((count, FRAME // 2 + 1), np.float32)
    for column, (chunk, padded) in enumerate(_columns(pieces, edges)):
        if len(chunk) == 0:
            continue
        low[column], high[column] = chunk.min(), chunk.max()
        offsets = np.unique(np.linspace(0, len(padded) - FRAME, min(MAX_SPECTRA, 1 + len(chunk) // FRAME)).astype(int))
        frames = np.stack([padded[offset : offset + FRAME] for offset in offsets]) * window
        power[column] = (np.abs(np.fft.rfft(frames, axis=1)) ** 2).mean(axis=0)
    return Outline(low, high, power)


def _columns(pieces: Iterable[np.ndarray], edges: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The samples of each column, without and with half a frame on either side, zero-padded at the ends."""
    half = FRAME // 2
    buffer = np.zeros(half, np.float32)  # begins half a frame before the column
    start, column = 0, 0  # first sample of the column
    ended = False
    source = iter(pieces)
    while column < len(edges) - 1:
        length = int(edges[column + 1]) - start
        if not ended and len(buffer) < length + FRAME:
            piece = next(source, None)
            ended = piece is None
            added = np.zeros(length + FRAME, np.float32) if piece is None else piece
            buffer = np.concatenate((buffer, added))
            continue
        if len(buffer) < length + FRAME:
            buffer = np.concatenate((buffer, np.zeros(length + FRAME, np.float32)))
        yield buffer[half : half + length], buffer[: length + FRAME]
        buffer = buffer[length:]
        start, column = int(edges[column + 1]), column + 1


def draw(path: str, tags: Tags, sound: Outline, document: Document) -> "Figure":
    """The figure, with at most `MAX_ROWS` classes: those with events first, then the best of the others."""
    from samplecnn.system.plotting import LIGHT, SEQUENTIAL, SMALL, new_figure, shorten, tidy

    events = document.selection.events_of(tags)
    present = {event.label for event in events}
    best = [name for name, _ in tags.top(len(tags.classes))]
    shown = sorted(best, key=lambda name: name not in present)[:MAX_ROWS]
    figure = new_figure(SOUND_HEIGHT + ROW_HEIGHT * len(shown), WIDTH)
    heights = [1.2, 1.6, ROW_HEIGHT * len(shown)]
    wave, spectrum, classes = figure.subplots(3, 1, sharex=True, height_ratios=heights)
    seconds = tags.seconds
    times = np.linspace(0, seconds, len(sound.low))
    wave.fill_between(times, sound.low, sound.high, color=LIGHT.blue, linewidth=0.3)
    wave.set_xlim(0, seconds)
    wave.set_ylabel("sound", fontsize=SMALL)
    tidy(wave)
    level = 10 * np.log10(np.maximum(sound.power.T, 1e-12))
    top = float(level.max())
    extent = (0, seconds, 0, tags.task.sample_rate / 2000)
    spectrum.imshow(level, SEQUENTIAL, aspect="auto", origin="lower", extent=extent, vmin=top - RANGE, vmax=top)
    spectrum.set_ylabel("kHz", fontsize=SMALL)
    tidy(spectrum, None)
    rows = [tags.classes.index(name) for name in shown]
    bounds = window_bounds(tags.times, tags.ends)
    scores = tags.over_time[:, rows].T
    mesh = classes.pcolormesh(bounds, np.arange(len(rows) + 1), scores, cmap=SEQUENTIAL, vmin=0, vmax=1)
    for event in events:
        if event.label in shown:
            row = shown.index(event.label)
            box = [(event.start, row + 0.06), (event.end, row + 0.94)]
            (left, bottom), (right, upper) = box
            classes.plot(
                [left, right, right, left, left], [bottom, bottom, upper, upper, bottom], color=LIGHT.orange, lw=1.2
            )
    classes.set_yticks(np.arange(len(rows)) + 0.5, [shorten(name, 30) for name in shown], fontsize=SMALL)
    classes.set_ylim(len(rows), 0)
    classes.set_xlabel("seconds; orange: events", fontsize=SMALL)
    tidy(classes, None)
    figure.colorbar(mesh, ax=classes, label="score", fraction=0.03, pad=0.01)
    wave.set_title(shorten(path, 90), fontsize=SMALL, loc="left")
    return figure
