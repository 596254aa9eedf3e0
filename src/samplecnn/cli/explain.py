"""samplecnn analyze MODEL explain CLIP, and analyze MODEL report DATASET."""

from typing import Annotated

import typer

MODEL_HELP = "A run directory, a .safetensors, or an .h5 of the original."


def explain_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP)],
    clip: Annotated[str, typer.Argument(metavar="CLIP", help="A recording, or a record of a TFRecord: FILE#NUMBER.")],
    tag: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A tag to explain; may be given several times. If not given: the most probable ones."
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="K", help="Explain the K most probable tags; if not given, 3 at most and none below 0.01."
        ),
    ] = None,
    windows: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="Of a long recording, explain the N windows in which the tags score highest."
        ),
    ] = 4,
    over_time: Annotated[
        bool,
        typer.Option(
            "--over-time",
            help="Explain all windows: N on each page of a .pdf, or in each of several numbered pictures.",
        ),
    ] = False,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Where the picture explain-CLIP.png goes. If not given: analysis in the model's run directory if it "
            "lies in one, or else here.",
        ),
    ] = None,
    picture: Annotated[
        str | None, typer.Option(metavar="FILE", help="The picture's name instead: .png, .svg or .pdf.")
    ] = None,
    table: Annotated[
        str | None, typer.Option(metavar="FILE", help="Also write the numbers: .csv, .parquet or .json.")
    ] = None,
    bands: Annotated[int, typer.Option(min=1, help="Frequency bands, equally wide in mel.")] = 16,
    moments: Annotated[int, typer.Option(min=1, help="Moments that a window is split into.")] = 50,
    steps: Annotated[
        int, typer.Option(min=1, help="Steps from silence to the sound; more are slower and more exact.")
    ] = 32,
    batch_size: Annotated[int, typer.Option(min=1, help="Waveforms at once; the result does not depend on it.")] = 8,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, ...; a GPU where there is one if not given.")
    ] = None,
) -> None:
    """Explain a recording's tags: which moments and which frequencies they rest on, as words, picture and table."""
    from samplecnn.analysis.explain import Settings
    from samplecnn.analysis.explain_run import run_explain

    settings = Settings(bands, moments, steps, batch_size)
    run_explain(model, clip, tag or (), top, windows, over_time, output, picture, table, settings, device)
