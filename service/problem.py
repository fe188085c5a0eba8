"""Errors as RFC 9457 problem details (`application/problem+json`): one table of kinds for answers and docs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import compile_path

from service.inference import NotReadyError, TooSlowError
from service.scheduler import OverloadedError
from service.store.database import StoreUnavailableError

MEDIA_TYPE = "application/problem+json"
_MOST_FAULTS = 20
_RETRY = {"Retry-After": "5"}
# Pydantic's error types in plain words; what is in braces comes from the error's context.
_SENTENCES = {
    "extra_forbidden": "This field is not known; leave it out.",
    "list_type": "This must be a list.",
    "missing": "This is required.",
    "model_attributes_type": "This must be an object.",
    "model_type": "This must be an object.",
    "string_pattern_mismatch": "Control characters are not allowed here, nor is % in the id of a ticket.",
    "string_too_long": "At most {max_length} characters are allowed.",
    "string_too_short": "This must not be empty.",
    "string_type": "This must be a string.",
    "string_unicode": "Half of a surrogate pair is not valid Unicode.",
    "too_long": "There are {actual_length} items; {max_length} are allowed.",
    "too_short": "There must be at least {min_length} item.",
}


class Fault(BaseModel):
    """What is wrong with one field of a request."""

    field: str = Field(description="Path of the field in the body, for instance `items.3.text`.")
    message: str = Field(description="What is wrong with it, in plain words.")


class ProblemDetails(BaseModel):
    """Why a request was not answered (RFC 9457). 请求未被处理的原因。"""

    type: str = Field(description="Identifies the kind of problem; stable, for programs.")
    title: str = Field(description="The kind of problem, for people.")
    status: int = Field(description="The HTTP status code.")
    detail: str = Field(description="What happened this time and what to do.")
    errors: list[Fault] | None = Field(default=None, description="Only for `invalid-request`: the fields at fault.")


@dataclass(frozen=True)
class Kind:
    """A kind of problem: what it is called, and an example for the API's documentation."""

    slug: str
    status: HTTPStatus
    title: str
    example: str
    faults: tuple[Fault, ...] = ()


MALFORMED = Kind(
    "malformed-json",
    HTTPStatus.BAD_REQUEST,
    "The body is not JSON",
    "The body is not valid JSON: Expecting ',' delimiter at character 31.",
)
TOO_LARGE = Kind(
    "too-large",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "The body is too large",
    "The body has more than the 2,097,152 bytes that are allowed; send fewer texts at once.",
)
SLOW_BODY = Kind(
    "slow-body", HTTPStatus.REQUEST_TIMEOUT, "The body did not come in time", "The body had not come after 30 seconds."
)
NOT_JSON = Kind(
    "unsupported-media-type",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "The body has the wrong type",
    "Send JSON with the header Content-Type: application/json; this was text/plain.",
)
INVALID = Kind(
    "invalid-request",
    HTTPStatus.UNPROCESSABLE_ENTITY,
    "The request is not valid",
    "text: The text has 20,431 characters; 20,000 are allowed.",
    (Fault(field="text", message="The text has 20,431 characters; 20,000 are allowed."),),
)
NOT_READY = Kind(
    "not-ready",
    HTTPStatus.SERVICE_UNAVAILABLE,
    "The service is not ready",
    "The model is still being loaded; try again in a moment.",
)
TOO_SLOW = Kind(
    "too-slow",
    HTTPStatus.SERVICE_UNAVAILABLE,
    "The answer took too long",
    "The answer was not ready within 60 seconds; try again later or send fewer texts at once.",
)
OVERLOADED = Kind(
    "overloaded",
    HTTPStatus.SERVICE_UNAVAILABLE,
    "The service has too much to do",
    "1024 texts wait for the model, about 6 seconds of work; try again a little later.",
)
STORE_UNAVAILABLE = Kind(
    "store-unavailable",
    HTTPStatus.SERVICE_UNAVAILABLE,
    "The ticket store does not answer",
    "The ticket store does not answer at the moment; try again soon. What was stored after all is recognised by its "
    "id or Idempotency-Key.",
)
UNAUTHENTICATED = Kind(
    "unauthenticated",
    HTTPStatus.UNAUTHORIZED,
    "A valid API key is needed",
    "Send the header `Authorization: Bearer fk_…`; `fankui keys create` makes a key.",
)
FORBIDDEN = Kind(
    "forbidden",
    HTTPStatus.FORBIDDEN,
    "The API key may not do this",
    "The key 'crm' lacks the scope tickets:write; make one that has it with `fankui keys create`.",
)
TOO_MANY = Kind(
    "rate-limited",
    HTTPStatus.TOO_MANY_REQUESTS,
    "Too many requests",
    "The key 'crm' may send 6000 requests a minute; try again after the seconds of Retry-After.",
)
NO_TICKET = Kind(
    "no-such-ticket",
    HTTPStatus.NOT_FOUND,
    "There is no such ticket",
    "There is no ticket 'T-1': it was never sent, or it has been erased.",
)
NO_WEBHOOK = Kind(
    "no-such-webhook", HTTPStatus.NOT_FOUND, "There is no such webhook", "There is no webhook 'wh_5f0c1d2e3a4b'."
)
NO_ADAPTER = Kind(
    "no-such-adapter",
    HTTPStatus.NOT_FOUND,
    "There is no such adapter",
    "There is no adapter 'jira'; there are: freshdesk, generic, zendesk.",
)
NOT_CLAIMED = Kind(
    "not-claimed",
    HTTPStatus.NOT_FOUND,
    "There is no such claim",
    "'li.na' has not claimed the ticket 'T-1'.",
)
CONFLICT = Kind(
    "conflict",
    HTTPStatus.CONFLICT,
    "The request collides with another",
    "A request with this Idempotency-Key is still being answered; try again in a moment.",
)
KEY_REUSED = Kind(
    "idempotency-key-reused",
    HTTPStatus.UNPROCESSABLE_ENTITY,
    "The Idempotency-Key was used for another request",
    "This Idempotency-Key came with another request before; use a new key for each new request.",
)
UNUSABLE_MODEL = Kind(
    "unusable-model",
    HTTPStatus.CONFLICT,
    "The new model cannot be used",
    "The model in models/2026.12.0 is damaged: model.onnx has another SHA-256; the former model goes on answering.",
)
UNEXPECTED = Kind(
    "internal-error",
    HTTPStatus.INTERNAL_SERVER_ERROR,
    "Something went wrong in the service",
    "This is a fault of the service, not of the request; its log has the details.",
)
_GONE = Kind("client-gone", HTTPStatus.REQUEST_TIMEOUT, "The client has gone", "")
_NOT_FOUND = Kind("not-found", HTTPStatus.NOT_FOUND, "There is nothing here", "")
_NOT_ALLOWED = Kind("method-not-allowed", HTTPStatus.METHOD_NOT_ALLOWED, "The method is not possible here", "")


OF_ANY_CALL = (UNAUTHENTICATED, FORBIDDEN, TOO_MANY, UNEXPECTED)
"""What any call of the API may be answered with."""


class Problem(HTTPException):
    """Raise it anywhere below the application to answer with a problem."""

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        faults: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(kind.status, detail, headers)
        self.kind = kind
        self.faults = faults

    @classmethod
    def invalid(cls, faults: Sequence[Fault]) -> Problem:
        """A request with these faults; only the first of very many are listed."""
        listed = list(faults[:_MOST_FAULTS])
        detail = f"{listed[0].field}: {listed[0].message}"
        if len(faults) > 1:
            detail += f" There are {len(faults)} faults in all."
        return cls(INVALID, detail, faults=listed)

    @classmethod
    def client_gone(cls) -> Problem:
        """For a client that has closed its connection: nobody reads it, but log and metrics should tell."""
        return cls(_GONE, "The client closed the connection before the answer was ready.")

    def response(self) -> Response:
        """The answer that says this."""
        content = _details(self.kind, self.detail, self.faults)
        # Text of the client may hold lone surrogates, which UTF-8 has no bytes for.
        body = json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")
        return Response(body, self.status_code, self.headers, MEDIA_TYPE)


def _details(kind: Kind, detail: str, faults: Sequence[Fault]) -> dict[str, Any]:
    return ProblemDetails(
        type=f"urn:fankui:problem:{kind.slug}",
        title=kind.title,
        status=kind.status,
        detail=detail,
        errors=list(faults) or None,
    ).model_dump(exclude_none=True)


def install(app: FastAPI) -> None:
    """Answer every error of `app` with a problem."""
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(NotReadyError, _not_ready)
    app.add_exception_handler(TooSlowError, _too_slow)
    app.add_exception_handler(OverloadedError, _overloaded)
    app.add_exception_handler(StoreUnavailableError, _store_unavailable)
    app.add_exception_handler(Exception, _unexpected)


def overloaded(error: OverloadedError) -> Response:
    """The answer to a request that has to come back later."""
    return Problem(OVERLOADED, str(error), headers={"Retry-After": str(error.retry_after)}).response()


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path[:200]
    if isinstance(error, Problem):
        problem = error
    elif error.status_code == HTTPStatus.NOT_FOUND:
        problem = Problem(_NOT_FOUND, f"There is nothing at {path}; /docs shows what there is.")
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = _allowed(request) or (error.headers or {}).get("Allow", "another method")
        detail = f"{path} takes {allowed}, not {request.method[:20]}."
        problem = Problem(_NOT_ALLOWED, detail, headers={"Allow": allowed})
    elif error.status_code == HTTPStatus.BAD_REQUEST:
        # The framework says this of a body in another encoding, nested too deeply, or with a number of absurd length.
        problem = Problem(MALFORMED, "The body cannot be read as JSON: it must be UTF-8 and of ordinary depth.")
    else:
        status = HTTPStatus(error.status_code)
        kind = Kind(status.phrase.lower().replace(" ", "-"), status, status.phrase, "")
        problem = Problem(kind, error.detail, headers=error.headers)
    return problem.response()


def _allowed(request: Request) -> str:
    """All methods of a path: the framework names those of the first route that has it, and each method is a route."""
    methods: set[str] = set()
    for template, operations in request.app.openapi()["paths"].items():
        if compile_path(template)[0].match(request.url.path):
            methods |= {method.upper() for method in operations}
    return ", ".join(sorted(methods))


async def _validation_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first, *_others = errors = error.errors()
    if first["type"] == "json_invalid":
        sentence = f"The body is not valid JSON: {first['ctx']['error']} at character {first['loc'][-1]}."
        return Problem(MALFORMED, sentence).response()
    return Problem.invalid([_fault(item) for item in errors]).response()


def _fault(error: Mapping[str, Any]) -> Fault:
    field = ".".join(str(part) for part in error["loc"][1:]) or "body"
    sentence = _SENTENCES.get(error["type"])
    message = sentence.format(**error.get("ctx", {})) if sentence else f"{error['msg']}."
    return Fault(field=field[:200], message=message)


async def _not_ready(_: Request, error: Exception) -> Response:
    return Problem(NOT_READY, str(error), headers=_RETRY).response()


async def _too_slow(_: Request, error: Exception) -> Response:
    return Problem(TOO_SLOW, str(error), headers=_RETRY).response()


async def _overloaded(_: Request, error: Exception) -> Response:
    assert isinstance(error, OverloadedError)
    return overloaded(error)


async def _store_unavailable(_: Request, error: Exception) -> Response:
    return Problem(STORE_UNAVAILABLE, str(error), headers=_RETRY).response()


async def _unexpected(_: Request, __: Exception) -> Response:
    return Problem(UNEXPECTED, UNEXPECTED.example).response()


def responses(*kinds: Kind) -> dict[int | str, dict[str, Any]]:
    """What FastAPI's `responses=` wants to document that a route may answer with these problems."""
    documented: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        answer = documented.setdefault(
            int(kind.status),
            {
                "description": kind.title,
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}, "examples": {}}},
            },
        )
        example = {"summary": kind.title, "value": _details(kind, kind.example, kind.faults)}
        answer["content"][MEDIA_TYPE]["examples"][kind.slug] = example
    return documented


def schemas() -> dict[str, Any]:
    """The schemas that `responses` refers to, for the components of the OpenAPI document."""
    _, definitions = models_json_schema(
        [(ProblemDetails, "serialization")], ref_template="#/components/schemas/{model}"
    )
    found: dict[str, Any] = definitions["$defs"]
    return found
