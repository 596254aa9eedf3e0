"""samplecnn export MODEL OUT --to FORMAT: a model for another program."""

from pathlib import Path
from typing import Annotated

import typer

from samplecnn.cli.choices import EXPORT_FORMATS, choice
from samplecnn.cli.shared import Model
from samplecnn.system import log


def export_command(
    model: Model,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write; it appears once it is complete.")],
    to: Annotated[
        str,
        choice(
            of=EXPORT_FORMATS,
            help="The format. keras-h5 is that of the original's code; onnx, openvino and torch map a waveform to "
            "probabilities and the embedding. html is a page that tags and listens in a browser, without a network.",
        ),
    ],
) -> None:
    """Write a model for other programs: the original's code, Keras, ONNX Runtime, OpenVINO, PyTorch alone, a browser.

    Reading a Keras file back gives the same bits and the class names. ONNX, OpenVINO and PyTorch files are run by their
    runtimes and compared before they get their names; standardisation is inside, and classes, sample rate, window and
    thresholds are in their metadata. A page holds the model and the code that runs it, and compares itself when opened.
    """
    from samplecnn import model_files
    from samplecnn.interop.export import FORMATS, check, export

    check(out, to)
    loaded = model_files.load_stored(model)
    export(loaded, out, to)
    size = f"{loaded.config.signature}, {loaded.config.num_blocks} blocks, {loaded.config.num_classes} classes"
    if not log.is_quiet():
        log.show(f"wrote {out} ({size}); open it with {FORMATS[to].opened_with.format(path=str(out))}")
