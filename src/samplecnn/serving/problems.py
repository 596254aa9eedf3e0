"""Errors as problem details (RFC 9457): the status, a title, and one line that says what is wrong and what helps."""

from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from samplecnn.errors import AudioError, SampleCNNError, UsageError
from samplecnn.system import log

MEDIA_TYPE = "application/problem+json"
UNPROCESSABLE, INTERNAL = 422, 500


class Problem(Exception):
    """An error that is sent to the client.

    Args:
        status: of the answer.
        detail: one line.
        headers: further ones of the answer, such as Retry-After.
    """

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers or {}

    def response(self) -> Response:
        """The answer."""
        return Response(
            log.json_text(self.to_dict()).encode("utf-8", "backslashreplace"),
            self.status,
            self.headers,
            MEDIA_TYPE,
        )

    def to_dict(self) -> dict[str, str | int]:
        title = HTTPStatus(self.status).phrase
        return {"type": "about:blank", "title": title, "status": self.status, "detail": log.one_line(self.detail)}


def busy(detail: str, status: int = 503, seconds: int = 1) -> Problem:
    """For a request that may succeed later."""
    return Problem(status, detail, {"Retry-After": str(seconds)})


def problem_of(error: BaseException) -> Problem:
    """The problem that an exception means for the client; an unexpected exception does not reveal its cause."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, HTTPException):  # of Starlette's router and its parser of forms
        return Problem(error.status_code, _detail(error), dict(error.headers or {}))
    if isinstance(error, AudioError):
        return Problem(UNPROCESSABLE, str(error))
    if isinstance(error, UsageError):
        return Problem(400, str(error))
    if isinstance(error, SampleCNNError):
        return Problem(INTERNAL, str(error))
    return Problem(INTERNAL, "the server has failed; its log has the reason")


def _detail(error: HTTPException) -> str:
    if error.status_code == 404:
        return "there is no such address; /openapi.json lists all"
    if error.status_code == 405:
        return f"this address takes {(error.headers or {}).get('Allow', 'other methods')}"
    return str(error.detail)


async def handler(request: Request, error: Exception) -> Response:
    """Starlette's handler of the exceptions of routes."""
    return problem_of(error).response()
