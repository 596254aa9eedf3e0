"""samplecnn index review: judge what an index has found, on a local page."""

from typing import Annotated

import typer

from samplecnn.cli.choices import choice
from samplecnn.cli.index_queries import IndexFolder
from samplecnn.cli.shared import AsJson
from samplecnn.system import log

REVIEW_ORDERS = "samplecnn.index.review.candidates:Order"


def review_command(
    index: IndexFolder,
    order: Annotated[
        str,
        choice(
            of=REVIEW_ORDERS,
            help="balanced: at random, from every range of scores alike; uncertain: nearest to the threshold; best: "
            "highest score. For thresholds use balanced.",
        ),
    ] = "balanced",
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="NAME", help="A class to review; may be repeated. By default all."),
    ] = None,
    goal: Annotated[
        str, typer.Option(metavar="GOAL", help="For thresholds: precision=P, recall=R or f1.")
    ] = "precision=0.9",
    context: Annotated[
        float, typer.Option(min=0, max=30, metavar="SECONDS", help="Sound that is played before and after an event.")
    ] = 0.5,
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="Of the page on 127.0.0.1.", show_default="a free one")
    ] = 0,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in the default browser.")] = False,
    answers: Annotated[
        bool, typer.Option("--answers", help="Print the answers' state and thresholds; without a page.")
    ] = False,
    save: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL_DIR",
            help="Fit a new output layer to all answers, and save it as a model in this new folder; without a page.",
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Review an index on a local page: listen to events, and accept, reject or relabel them by key.

    Every answer is stored at once in the index. From 20 answers to a class follow a threshold with its interval,
    calibrated scores, and with --save a model with a new output layer.
    """
    from samplecnn.errors import UsageError
    from samplecnn.evaluation.thresholds import Goal
    from samplecnn.index import read_index
    from samplecnn.index.review.answers import open_answers, read_answers
    from samplecnn.index.review.head import check_new, new_head, save_head
    from samplecnn.index.review.state import Review, chosen_classes

    wanted = Goal.parse(goal)
    if wanted.measure == "none":
        raise UsageError("--goal: expected precision=P, recall=R or f1")
    known = read_index(index)
    names = chosen_classes(known, classes or [])
    if save is not None:
        check_new(save)
        review = Review(known, read_answers(index), wanted)
        head = new_head(review)
        save_head(review, head, save)
        log.show(log.json_text(head.to_dict(), indent=2) if json else "\n".join([*head.lines(), f"saved {save}"]))
        return
    if answers:
        review = Review(known, read_answers(index), wanted)
        states = [review.state(name) for name in review.reviewed(classes or [])]
        if json:
            values = {"index": index, "goal": goal, "classes": [state.to_dict() for state in states]}
            log.show(log.json_text(values, indent=2))
        else:
            log.show("\n".join(line for state in states for line in state.lines(wanted)) or "no answers yet")
            found = {state.name: state.estimate for state in states if state.estimate is not None}
            if found:
                options = [f"--class-threshold={name}={each.threshold:.4f}" for name, each in found.items()]
                from samplecnn.cli.shared import next_command

                next_command("index", "events", index, *options)
        return
    from samplecnn.extras import require

    require("samplecnn index review", "serve")
    from samplecnn.index.review.session import Session
    from samplecnn.serving.review import review_app
    from samplecnn.serving.server import serve_page

    with open_answers(index) as file:
        review = Review(known, file.answers, wanted)
        session = Session(review, file, names, order, context)  # type: ignore[arg-type]
        before = len(file.answers)
        serve_page(review_app(session), port, open_browser)
        log.note(
            f"{len(file.answers)} answers ({len(file.answers) - before:+d}); --answers shows what follows from them"
        )
