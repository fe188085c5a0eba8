"""Stored tickets as they are answered."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic_core import to_json
from sqlalchemy import Row
from starlette.responses import Response

from fankui.taxonomy import Label, Taxonomy
from service.api.schemas import Guidance
from service.problem import Fault, Problem
from service.store.tickets import Stored


def response(content: Mapping[str, Any]) -> Response:
    """The content as JSON; FastAPI would validate our own data again."""
    return Response(to_json(content), media_type="application/json")


def ticket(stored: Stored, taxonomy: Taxonomy) -> dict[str, Any]:
    """A ticket with the guidance for its causes, as TicketAnswer describes it."""
    row = stored.row
    return dict(row.tags) | {
        "revision": row.revision,
        "text": row.text,
        "channel": row.channel,
        "metadata": row.attributes,
        "created_at": row.created_at,
        "received_at": row.received_at,
        "classified_at": row.classified_at,
        "labels": {
            "grade": row.grade,
            "polarity": row.polarity,
            "request": row.request,
            "causes": stored.causes,
        },
        "corrections": [
            {"revision": entry.revision, "by": entry.by, "why": entry.why, "labels": entry.labels, "at": entry.at}
            for entry in stored.corrections
        ],
        "review": {"reason": row.review, "claimed_by": row.claimed_by, "claimed_until": row.claimed_until},
        "guidance": guidance(stored.causes, taxonomy),
    }


def ticket_with_history(stored: Stored, history: Sequence[Row[Any]], taxonomy: Taxonomy) -> dict[str, Any]:
    """A ticket with its earlier revisions, as TicketWithHistory describes it."""
    earlier = [
        {"revision": row.number, "text": row.text, "prediction": row.tags, "classified_at": row.classified_at}
        for row in history
    ]
    return ticket(stored, taxonomy) | {"history": earlier}


def page(found: Sequence[Stored], limit: int, taxonomy: Taxonomy) -> dict[str, Any]:
    """The first `limit` of the tickets, and the cursor of the next page if there are more, as TicketPage describes."""
    shown = found[:limit]
    cursor = _cursor(shown[-1].row.seq) if len(found) > limit else None
    return {"items": [ticket(stored, taxonomy) for stored in shown], "next": cursor}


def guidance(causes: Iterable[str], taxonomy: Taxonomy) -> list[Guidance]:
    """What the taxonomy advises for these causes; one that it no longer has is left out."""
    known: dict[str, Label] = {label.id: label for label in taxonomy.head("cause").labels}
    return [
        Guidance.model_construct(
            cause=label.id, name=label.name, wants=label.wants, respond=label.respond, never_say=label.never_say
        )
        for label in map(known.get, causes)
        if label
    ]


def _cursor(seq: int) -> str:
    return base64.urlsafe_b64encode(f"t{seq}".encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> int:
    """The place that a cursor stands for. Raises Problem (422)."""
    try:
        content = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        if content[:1] != "t" or not content[1:].isdecimal() or len(content) > 19:
            raise ValueError(content)
        return int(content[1:])
    except (ValueError, binascii.Error):
        message = "This is not a cursor that a page of this list gave as `next`."
        raise Problem.invalid([Fault(field="cursor", message=message)]) from None
