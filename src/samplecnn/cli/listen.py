"""samplecnn listen MODEL [SOURCE]: events as they are heard."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from samplecnn.cli.choices import ENGINES, LISTEN_FORMATS, PCM_FORMATS, choice
from samplecnn.cli.shared import Model
from samplecnn.errors import UsageError
from samplecnn.extras import require
from samplecnn.system import log

if TYPE_CHECKING:
    from socket import socket

    from samplecnn.listening.listener import Listener, Moment
    from samplecnn.listening.mqtt import Broker, Mqtt
    from samplecnn.listening.outputs import Output, SoundName
    from samplecnn.listening.sources import Source
    from samplecnn.system.sockets import Endpoint


def listen_command(
    model: Model,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="A recording, or - for raw samples or a WAV file on the standard input; by default the microphone.",
            show_default="the microphone",
        ),
    ] = None,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Listen to a stream at this address instead (http, rtsp, ...).")
    ] = None,
    microphone: Annotated[
        str | None, typer.Option(metavar="NAME", help="The microphone whose name contains this, or its number.")
    ] = None,
    list_microphones: Annotated[
        bool, typer.Option("--list-microphones", help="List the microphones and exit.", allow_from_autoenv=False)
    ] = False,
    rate: Annotated[
        int | None, typer.Option(min=1000, metavar="HZ", help="Of raw samples.", show_default="the model's")
    ] = None,
    channels: Annotated[int, typer.Option(min=1, max=64, metavar="N", help="Of raw samples, interleaved.")] = 1,
    pcm: Annotated[str, choice("--pcm", of=PCM_FORMATS, help="Format of raw samples.")] = "s16le",
    realtime: Annotated[
        bool, typer.Option("--realtime", help="Hear a recording as fast as it was made, not at full speed.")
    ] = False,
    format: Annotated[
        str,
        choice(
            of=LISTEN_FORMATS,
            help="live: a display for people; text: a line for each event; jsonl: one JSON object a line; auto: live "
            "on a terminal, else jsonl.",
        ),
    ] = "auto",
    near: Annotated[
        bool, typer.Option("--near", help="text, jsonl: also tell what came close to its threshold.")
    ] = False,
    ends: Annotated[bool, typer.Option("--ends", help="text, jsonl: also say when an event ended.")] = False,
    command: Annotated[
        str | None,
        typer.Option(
            metavar="COMMAND",
            help="Run this for every event, without a shell; {label}, {score} and {time} are replaced, and in its "
            "environment as SAMPLECNN_LABEL and so on.",
        ),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Score above which a class is heard.", show_default="the model's")
    ] = None,
    class_threshold: Annotated[
        list[str] | None, typer.Option(metavar="CLASS=VALUE", help="The threshold of one class; may be repeated.")
    ] = None,
    thresholds: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Thresholds in a file of CLASS=VALUE lines, which is read again when it changes."
        ),
    ] = None,
    hop: Annotated[
        float | None,
        typer.Option(min=0.001, metavar="SECONDS", help="From one window to the next.", show_default="a tenth of it"),
    ] = None,
    smooth: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Windows whose mean score counts.", show_default="3")
    ] = None,
    background_odds: Annotated[
        float | None, typer.Option(metavar="FACTOR", help="On the odds of _background_.", show_default="1")
    ] = None,
    refractory: Annotated[
        float | None,
        typer.Option(min=0, metavar="SECONDS", help="After an event in which there is no other.", show_default="0.5"),
    ] = None,
    settle: Annotated[
        float | None,
        typer.Option(min=0, metavar="SECONDS", help="An event may wait for a higher score.", show_default="0.2"),
    ] = None,
    mqtt: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Publish events at an MQTT broker: mqtt://[USER@]HOST[:PORT]/TOPIC, or mqtts: with TLS. The password "
            "is read from SAMPLECNN_MQTT_PASSWORD.",
        ),
    ] = None,
    mqtt_discovery: Annotated[
        str,
        typer.Option(metavar="PREFIX", help="--mqtt: prefix of Home Assistant's discovery; an empty one turns it off."),
    ] = "homeassistant",
    wyoming: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="Instead of a source, serve Wyoming clients such as Home Assistant, at tcp://HOST:PORT: they send "
            "sound and get what is heard in it.",
        ),
    ] = None,
    engine: Annotated[
        str, choice(of=f"auto+{ENGINES}", help="What runs the model; auto: the one that starts fastest, not PyTorch.")
    ] = "auto",
) -> None:
    """Listen with a trained model: a microphone, a stream or a recording in; events out while they are heard.

    Where `samplecnn bench listen --store` has measured the model, its operating point gives the defaults of --hop,
    --threshold, --smooth, --background-odds, --refractory and --settle. On a terminal, up and down choose a class, left
    and right change its threshold, q ends; so does Ctrl-C.
    """
    import os
    from contextlib import ExitStack, closing
    from dataclasses import replace
    from pathlib import Path

    from threadpoolctl import threadpool_limits

    # A window takes a millisecond or two: more threads would gain nothing, and spin on the other cores while they wait
    # for the next one. The variable is for the engines, which are not loaded yet, as the BLAS of NumPy is.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    threadpool_limits(1, "blas")

    from samplecnn.listening.detector import DetectorRules
    from samplecnn.listening.listener import Listener
    from samplecnn.listening.operating_point import operating_point_of
    from samplecnn.listening.outputs import Command, Finished, Output, SoundName, about
    from samplecnn.listening.sensitivity import ThresholdFile
    from samplecnn.system.storage import is_remote
    from samplecnn.tagging.events import EventRules, class_thresholds

    if list_microphones:
        from samplecnn.listening.microphone import microphones

        log.show("\n".join(f"{number}: {name}" for number, name in enumerate(microphones())) or "there is none")
        return
    if sum(given is not None for given in (source, url, microphone, wyoming)) > 1:
        raise UsageError("give one source: a recording or -, --url, --microphone, or --wyoming")
    if source is not None and source != "-" and not is_remote(source) and not Path(source).exists():
        raise UsageError(f"{source}: no such file; check the path")
    broker, endpoint = _addresses(mqtt, wyoming)
    run = Command(command) if command is not None else None
    listening = endpoint.listen() if endpoint is not None else None  # before a model is loaded for a port in use
    point = operating_point_of(model)
    given: dict[str, Any] = {
        "smooth": smooth,
        "background_odds": background_odds,
        "refractory": refractory,
        "settle": settle,
    }
    rules = replace(
        DetectorRules() if point is None else point.rules,
        **{name: value for name, value in given.items() if value is not None},
    )
    listener = Listener(model, point.hop if hop is None and point is not None else hop, rules, engine=engine)
    limits = EventRules(class_thresholds(class_threshold, threshold) if class_threshold else threshold)
    default = listener.task.class_thresholds if point is None else (point.threshold,) * listener.task.num_classes
    detector = listener.detector
    detector.thresholds = limits.thresholds(listener.task.classes, default)
    file = ThresholdFile(Path(thresholds), detector, detector.thresholds) if thresholds is not None else None
    published: list[Mqtt] = []
    with ExitStack() as stack:
        outputs: list[Output] = []

        def add(output: Output) -> None:
            outputs.append(stack.enter_context(closing(output)))

        def show(moment: "Moment") -> None:
            for output in outputs:
                output.show(moment)
            if file is not None:
                file.look()

        def add_all(sound: SoundName) -> None:
            if broker is not None:
                from samplecnn.listening.mqtt import Mqtt

                published.append(Mqtt(broker, about(listener, sound, model), mqtt_discovery))
                add(published[-1])
            if run is not None:
                add(run)
            add(_output(format, listener, sound, model, (near, ends)))

        if endpoint is not None and listening is not None:
            _serve(listener, endpoint, listening, add_all, show)
            return
        sound = _source(listener, source, url, microphone, (rate, channels, pcm), realtime)
        add_all(SoundName(sound.name, sound.live))
        try:
            for moment in listener.listen(sound):
                show(moment)
        except Finished:
            pass
        except KeyboardInterrupt:
            if not sound.live:  # of a recording, something is missing
                raise
    log.note(listener.counts.summary())
    if not sound.live and any(output.failed for output in published):
        raise typer.Exit(1)


def _addresses(mqtt: str | None, wyoming: str | None) -> "tuple[Broker | None, Endpoint | None]":
    """Of the broker and of the server: checked before a model is loaded."""
    broker = endpoint = None
    if mqtt is not None:
        require("samplecnn listen --mqtt", "mqtt")
        from samplecnn.listening.mqtt import Broker

        broker = Broker.parsed(mqtt)
    if wyoming is not None:
        require("samplecnn listen --wyoming", "wyoming")
        from samplecnn.listening.wyoming import endpoint_of

        endpoint = endpoint_of(wyoming)
    return broker, endpoint


def _serve(
    listener: "Listener",
    endpoint: "Endpoint",
    listening: "socket",
    add_outputs: "Callable[[SoundName], None]",
    show: "Callable[[Moment], None]",
) -> None:
    """Serves the Wyoming protocol until Ctrl-C or SIGTERM."""
    import asyncio
    from contextlib import suppress

    from samplecnn.listening.outputs import SoundName
    from samplecnn.listening.wyoming import WyomingServer

    server = WyomingServer(listener, listening, show)

    def ready() -> None:
        where = endpoint.url(listening, "tcp")
        add_outputs(SoundName(f"wyoming {where}", live=True))
        log.note(f"listening for Wyoming clients at {where}: {', '.join(server.names)}")

    with suppress(KeyboardInterrupt):
        asyncio.run(server.serve(ready))


def _source(
    listener: "Listener",
    source: str | None,
    url: str | None,
    microphone: str | None,
    raw: tuple[int | None, int, str],
    realtime: bool,
) -> "Source":
    from samplecnn.listening.microphone import MicrophoneSource
    from samplecnn.listening.sources import PcmSource, RecordingSource, UrlSource

    sample_rate = listener.task.sample_rate
    if url is not None:
        return UrlSource(url, sample_rate)
    if source == "-":
        rate, channels, pcm = raw
        return PcmSource(None, rate or sample_rate, channels, pcm)
    if source is not None:
        return RecordingSource(source, sample_rate, realtime)
    return MicrophoneSource(microphone)


def _output(format: str, listener: "Listener", sound: "SoundName", model: str, extra: tuple[bool, bool]) -> "Output":
    import sys

    from samplecnn.listening.outputs import JsonLines, Text, about

    near, ends = extra
    kinds = ("event", *(("near",) if near else ()), *(("end",) if ends else ()))
    many = sound.name.startswith("wyoming ")  # streams, which the display could not show
    if format == "live" and many:
        raise UsageError("--format live shows one stream; with --wyoming use text or jsonl")
    if format == "auto":
        format = ("text" if many else "live") if sys.stdout.isatty() else "jsonl"
    if format == "live":
        from samplecnn.listening.display import Display

        return Display(f"{model} hears {sound.name}", listener.detector, listener.counts)
    return Text(kinds) if format == "text" else JsonLines(about(listener, sound, model), kinds, sound.live)
