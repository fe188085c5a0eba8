"""Errors a user can cause, each with a sentence that says what was wrong and what to do."""

from __future__ import annotations

from pydantic import ValidationError


class FankuiError(Exception):
    """Base of the package's errors; its text is shown to the user as it is."""


def describe(error: ValidationError) -> str:
    """The first faults of a pydantic validation as one sentence that names the fields."""
    faults = []
    for fault in error.errors()[:3]:
        where = ".".join(str(part) for part in fault["loc"])
        message = fault["msg"].removeprefix("Value error, ")
        faults.append(f"{where}: {message}" if where else message)
    more = error.error_count() - len(faults)
    return "; ".join(faults) + (f"; and {more} more." if more > 0 else ".")
