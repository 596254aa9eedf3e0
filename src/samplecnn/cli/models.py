"""samplecnn models: the packaged models; `models show NAME` prints a model's card."""

from typing import Annotated, Any

import typer

from samplecnn.cli.shared import AsJson, packaged
from samplecnn.cli.verbs import Commands, Verb, with_common
from samplecnn.system import log


def list_command(context: typer.Context, json: AsJson = False) -> None:
    """List the packaged models: name, classes, size, score, licence. Every command accepts the name instead of a
    path.
    """
    if context.invoked_subcommand is None:
        _list(json)


def _list(as_json: bool) -> None:
    from samplecnn.zoo.packaged import packaged_models

    found = packaged_models()
    if as_json:
        log.show(log.json_text([model.to_dict() for model in found], indent=2))
        return
    if not found:
        log.show("this installation has no packaged models")
        return
    rows = [("model", "classes", "size", "test", "licence", "recognises")]
    for model in found:
        size = f"{model.bytes / 1e6:.2f} MB"
        rows.append((model.name, str(len(model.classes)), size, model.score_text, model.licence, model.about))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    log.show("\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows))


def show_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a packaged model.", autocompletion=packaged)],
) -> None:
    """Show a packaged model's card: classes, data, scores, limits, and how it was made."""
    from samplecnn.zoo.packaged import packaged_card

    log.show(packaged_card(name).rstrip("\n"))


models: Any = typer.Typer(
    cls=Commands,
    add_completion=False,
    rich_markup_mode=None,
    invoke_without_command=True,
    help="List the packaged models, which are used by name.",
)
models.callback(invoke_without_command=True)(with_common(list_command))
models.command("show", cls=Verb, short_help="Show a packaged model's card")(with_common(show_command))
