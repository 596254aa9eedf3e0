"""samplecnn analyze MODEL WHAT: what a trained network hears, as pictures, tables and words."""

from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from samplecnn.cli.explain import explain_command, report_command
from samplecnn.cli.shared import Built, Device, Model
from samplecnn.errors import UsageError

Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR",
        help="Where pictures and tables go. If not given: analysis in the model's run directory if it lies in one, "
        "or else here.",
    ),
]


class ModelFirst(TyperGroup):
    """A group whose verbs come behind the model that they are about: `analyze MODEL filters --steps 12`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in self.commands:
            if len(args) == 1 or args[1] not in self.commands:
                said = f"no analysis {args[1]!r}" if len(args) > 1 else f"which analysis of {args[0]}"
                raise UsageError(f"{said}? Choose {', '.join(self.commands)}")
            args = [args[1], args[0], *args[2:]]
        return super().resolve_command(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["MODEL", "WHAT", "[OPTIONS]"]


class Analysis(TyperCommand):
    """A verb of it, which tells its usage as it is typed."""

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        before = ctx.parent.command_path if ctx.parent else ""
        pieces = [piece for piece in self.collect_usage_pieces(ctx) if "MODEL" not in piece]
        formatter.write_usage(f"{before} MODEL {ctx.info_name}", " ".join(pieces))


def filters_command(
    model: Model,
    output: Output = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of gradient ascent from noise.")] = 24,
    seed: Annotated[int, typer.Option(min=0, help="Of the noise; the same seed gives the same pictures.")] = 0,
    layer: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this layer, conv0 or block3_conv; may be given several times."),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="Of the activations: auto takes bf16 where the hardware is built for it, else fp32.")
    ] = "auto",
    device: Device = None,
) -> None:
    """Show what excites every filter most: a picture of the spectra of each layer, filters sorted by their peak.

    Also the first layer's own filters of three samples, the peaks of all layers in one picture, and all spectra as
    filters.parquet.
    """
    from samplecnn.analysis.analyses import run_filters

    run_filters(model, output, steps, seed, layer, precision, device)


def excitations_command(
    model: Model,
    dataset: Built,
    data_dir: Annotated[str, typer.Option(help="The folder of the built data sets.")] = "./data",
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    output: Output = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Segments a step; the figures do not depend on it.")] = 23,
    json: Annotated[
        str | None, typer.Option(metavar="FILE", help="Also write the figures of every block as JSON.")
    ] = None,
    device: Device = None,
) -> None:
    """Show how blocks with excitation rescale their features: by class, by depth, and by loudness.

    Five pictures, and the factors of every block for every segment as excitations.parquet.
    """
    from samplecnn.analysis.analyses import run_excitations

    run_excitations(model, dataset, data_dir, output, split, batch_size, json, device)


def summary_command(
    model: Model,
    output: Output = None,
    json: Annotated[str | None, typer.Option(metavar="FILE", help="Also write all rows as JSON.")] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Length of the input in samples; the model's window if not given.")
    ] = None,
) -> None:
    """Show the network layer by layer: shapes, what a step sees, parameters, arithmetic, memory; and draw it."""
    from samplecnn.analysis.analyses import run_summary

    run_summary(model, output, json, samples)


analyze = typer.Typer(
    cls=ModelFirst,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Look into a trained network: what it hears, and how it is built; as pictures, tables and words.",
)
ANALYSES: dict[str, Callable[..., None]] = {
    "filters": filters_command,
    "excitations": excitations_command,
    "summary": summary_command,
    "explain": explain_command,
    "report": report_command,
}
for _name, _command in ANALYSES.items():
    analyze.command(_name, cls=Analysis, short_help=(_command.__doc__ or "").split(":")[0])(_command)
