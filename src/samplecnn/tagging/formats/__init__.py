"""The output formats of tags. To add one, write a small writer and add a line here."""

from samplecnn.tagging.formats.captions import Srt, WebVtt
from samplecnn.tagging.formats.collections import DcaseWriter, KaleidoscopeWriter, LongCsvWriter
from samplecnn.tagging.formats.documents import Document
from samplecnn.tagging.formats.jams import Jams
from samplecnn.tagging.formats.labels import Audacity, Raven, TextGrid
from samplecnn.tagging.formats.parquet import ParquetWriter
from samplecnn.tagging.formats.taggram import TaggramPng, TaggramSvg
from samplecnn.tagging.writers import CsvWriter, JsonLinesWriter, JsonWriter, TableWriter, Writer

# Formats with one file for all recordings.
COLLECTIONS: dict[str, type[Writer]] = {
    "table": TableWriter,
    "json": JsonWriter,
    "jsonl": JsonLinesWriter,
    "csv": CsvWriter,
    "csv-long": LongCsvWriter,
    "parquet": ParquetWriter,
    "dcase": DcaseWriter,
    "kaleidoscope": KaleidoscopeWriter,
}
# Formats with one file for each recording.
DOCUMENTS: dict[str, type[Document]] = {
    "audacity": Audacity,
    "raven": Raven,
    "vtt": WebVtt,
    "srt": Srt,
    "textgrid": TextGrid,
    "jams": Jams,
    "png": TaggramPng,
    "svg": TaggramSvg,
}
FORMATS: dict[str, type[Writer] | type[Document]] = {**COLLECTIONS, **DOCUMENTS}

__all__ = ["COLLECTIONS", "DOCUMENTS", "FORMATS", "Document"]
