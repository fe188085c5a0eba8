"""Why a call has no result."""

from __future__ import annotations

from collections.abc import Sequence

from fankui.client.answers import Fault
from fankui.errors import FankuiError


class ApiError(FankuiError):
    """The service, or a proxy before it, refused the request, or answered what cannot be read.

    `type` tells the kinds apart for programs (`about:blank`: the answer is not of Fankui), `errors` names the fields at
    fault, `request_id` the request in the service's log.
    """

    def __init__(
        self,
        status: int,
        type: str,  # noqa: A002 (named as in RFC 9457)
        title: str,
        detail: str,
        errors: Sequence[Fault] = (),
        request_id: str | None = None,
    ) -> None:
        super().__init__(status, type, title, detail, errors, request_id)  # All of them, or it could not be pickled.
        self.status = status
        self.type = type
        self.title = title
        self.detail = detail
        self.errors = tuple(errors)
        self.request_id = request_id

    def __str__(self) -> str:
        return f"{self.status} {self.title}: {self.detail}"


class UnreachableError(FankuiError):
    """The service did not answer."""
