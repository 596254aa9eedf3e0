"""samplecnn serve MODEL...: tags over HTTP."""

from typing import Annotated

import typer

from samplecnn.cli.shared import BatchSize, Engine, EnginePrecision


def serve_command(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL",
            help="Models to serve, each a run directory, a file, a packaged model's name or a hub id; NAME=MODEL names "
            "it. The first one is the default.",
        ),
    ],
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to listen at; others than loopback need a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="PORT", help="Port; 0: any free one.")] = 8000,
    token_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="File with the token that every request must have; or set SAMPLECNN_TOKEN.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A host name under which requests may come; may be repeated."),
    ] = None,
    max_megabytes: Annotated[int, typer.Option(min=1, metavar="MIB", help="Largest upload.")] = 64,
    max_seconds: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="Longest recording.")] = 900.0,
    max_queue: Annotated[
        int, typer.Option(min=1, metavar="N", help="Requests in progress and waiting; further ones get status 429.")
    ] = 64,
    request_timeout: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="Time for processing a request.")
    ] = 60.0,
    batch_size: BatchSize = 32,
    engine: Engine = "auto",
    precision: EnginePrecision = "auto",
) -> None:
    """Serve models over HTTP: recordings are posted to /v1/tag and their tags come back as JSON or in other formats.

    By default only programs of this machine can ask. SIGTERM and Ctrl-C end the server after the requests in progress;
    a second one does not wait for them.
    """
    from samplecnn.errors import UsageError
    from samplecnn.extras import require
    from samplecnn.system import log
    from samplecnn.system.sockets import Endpoint

    require("samplecnn serve", "serve")
    from samplecnn.serving.settings import ServeLimits, read_token

    endpoint, token = Endpoint(host, port), read_token(token_file)
    if token is None and not endpoint.is_loopback:
        raise UsageError(f"--host {host}: others can reach this address; set a token with --token-file")
    limits = ServeLimits(
        max_megabytes=max_megabytes,
        max_seconds=max_seconds,
        max_queue=max_queue,
        request_timeout=request_timeout,
        batch_size=batch_size,
    )
    listening = endpoint.listen()
    log.note(f"loading {', '.join(models)}")
    from samplecnn.serving.api import application, new_service
    from samplecnn.serving.run import serve

    service = new_service(models, limits, engine, precision)

    def ready() -> None:
        log.show(endpoint.url(listening))
        if token is not None:
            log.note("requests need the token; a browser opens ADDRESS/?token=TOKEN once")
        log.note("ready; Ctrl-C ends")

    serve(application(service, token, allow_host or ()), listening, service.load, ready, limits.grace)
