"""The description of the API (OpenAPI 3.1), made from the parameters that the server reads."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from samplecnn import __version__
from samplecnn.serving.problems import MEDIA_TYPE
from samplecnn.serving.query import LISTEN_PARAMETERS, TAG_PARAMETERS, Parameter

if TYPE_CHECKING:
    from samplecnn.serving.service import Service

ERRORS = {
    "400": "A parameter or form that cannot be read.",
    "401": "The token is missing or wrong.",
    "403": "A request of a page of another origin.",
    "404": "No such address or model.",
    "408": "The request came too slowly.",
    "413": "The file is larger than the limit.",
    "415": "A type of content that is not sound.",
    "421": "A host name that is not allowed.",
    "422": "Not a recording that can be decoded, or longer than the limit.",
    "429": "Too many requests are waiting; Retry-After says when to try again.",
    "500": "The server has failed.",
    "503": "Not done in time, or the server is loading or stopping; see Retry-After.",
}
TAG_ERRORS, PLAIN_ERRORS, LOADED = tuple(ERRORS), ("401", "403", "421", "500"), ("401", "403", "421", "500", "503")
NUMBER, TEXT, BOOLEAN = {"type": "number"}, {"type": "string"}, {"type": "boolean"}
TEXTS, NUMBERS = {"type": "array", "items": TEXT}, {"type": "array", "items": NUMBER}
SCORE = {"type": "number", "minimum": 0, "maximum": 1}


def description(service: "Service") -> dict[str, Any]:
    """The OpenAPI document of a server."""
    names = list(service.models)
    paths = {
        "/v1/tag": {"post": _tag(names)},
        "/v1/models": {"get": _plain("Models, formats and limits", _json("#/components/schemas/Models"), LOADED)},
        "/v1/listen": {"get": _listen(names)},
        "/health": {"get": _plain("Whether the process answers", _json("#/components/schemas/Status"), ("421", "500"))},
        "/ready": {
            "get": _plain(
                "Whether it takes requests", _json("#/components/schemas/Status"), ("421", "429", "500", "503")
            )
        },
        "/metrics": {"get": _plain("Counters for Prometheus", {"text/plain": {"schema": TEXT}})},
        "/openapi.json": {"get": _plain("This document", {"application/json": {"schema": {"type": "object"}}}, LOADED)},
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "samplecnn",
            "version": __version__,
            "description": "Tags of recordings. Every error is a problem document (RFC 9457).",
        },
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": SCHEMAS,
            "responses": {code: _problem(about) for code, about in ERRORS.items()},
        },
    }


def _tag(names: list[str]) -> dict[str, Any]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    form = {
        "type": "object",
        "properties": {"file": {"type": "string", "format": "binary"}},
        "required": ["file"],
    }
    return {
        "summary": "Tag one recording",
        "operationId": "tag",
        "parameters": _parameters(TAG_PARAMETERS, names),
        "requestBody": {
            "required": True,
            "description": "The bytes of a file in any format, or a form with one file. Fields of the form count as "
            "parameters.",
            "content": {
                "application/octet-stream": binary,
                "audio/*": binary,
                "video/*": binary,
                "multipart/form-data": {"schema": form},
            },
        },
        "responses": {
            "200": {
                "description": "The tags, or a file of the format that was asked for.",
                "content": {**_json("#/components/schemas/Tags"), "*/*": binary},
            },
            **_errors(TAG_ERRORS),
        },
    }


def _listen(names: list[str]) -> dict[str, Any]:
    return {
        "summary": "Live sound by WebSocket",
        "description": "Send samples as binary messages, and the text message end at their end. Received are JSON "
        "messages of type start, event, near, end, scores, done or problem.",
        "operationId": "listen",
        "parameters": _parameters(LISTEN_PARAMETERS, names),
        "responses": {"101": {"description": "The connection is a WebSocket now."}, **_errors(("404", "429", *LOADED))},
    }


def _plain(summary: str, content: dict[str, Any], errors: tuple[str, ...] = PLAIN_ERRORS) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": {"description": "OK", "content": content}, **_errors(errors)}}


def _parameters(known: Mapping[str, Parameter], names: list[str]) -> list[dict[str, Any]]:
    found = []
    for name, parameter in known.items():
        schema: Any = {**parameter.schema, **({"enum": names} if name == "model" else {})}
        if parameter.several:
            schema = {"type": "array", "items": schema}
        found.append({"name": name, "in": "query", "description": parameter.about, "schema": schema})
    return found


def _json(reference: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": reference}}}


def _errors(codes: tuple[str, ...]) -> dict[str, Any]:
    return {code: {"$ref": f"#/components/responses/{code}"} for code in codes}


def _problem(about: str) -> dict[str, Any]:
    return {"description": about, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}


def _object(properties: dict[str, Any], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


_SCORES = {"type": "object", "additionalProperties": SCORE}
SCHEMAS: dict[str, Any] = {
    "Problem": _object({"type": TEXT, "title": TEXT, "status": {"type": "integer"}, "detail": TEXT}),
    "Status": _object({"status": TEXT}),
    "Event": _object({"start": NUMBER, "end": NUMBER, "label": TEXT, "score": SCORE}),
    "Window": _object({"start": NUMBER, "end": NUMBER, "tags": _SCORES, "embedding": NUMBERS}, ("embedding",)),
    "Tags": _object(
        {
            "model": TEXT,
            "path": TEXT,
            "seconds": NUMBER,
            "silent": BOOLEAN,
            "tags": _SCORES,
            "notes": TEXTS,
            "over_time": {"type": "array", "items": {"$ref": "#/components/schemas/Window"}},
            "events": {"type": "array", "items": {"$ref": "#/components/schemas/Event"}},
            "embedding": NUMBERS,
        },
        ("silent", "notes", "over_time", "events", "embedding"),
    ),
    "Model": _object(
        {
            "name": TEXT,
            "task": TEXT,
            "kind": {"type": "string", "enum": ["multilabel", "multiclass"]},
            "classes": TEXTS,
            "sample_rate": {"type": "integer"},
            "window": {"type": "integer"},
            "window_seconds": NUMBER,
            "thresholds": {"type": "array", "items": SCORE},
            "listening": _object({"threshold": SCORE}),
            "embedding_size": {"type": "integer"},
            "engine": TEXT,
            "precision": TEXT,
            "sha256": TEXT,
            "about": TEXT,
            "licence": TEXT,
        },
        ("listening",),
    ),
    "Models": _object(
        {
            "models": {"type": "array", "items": {"$ref": "#/components/schemas/Model"}},
            "formats": TEXTS,
            "limits": _object({"bytes": {"type": "integer"}, "seconds": NUMBER}),
        }
    ),
}
