"""What people said of tickets, as texts to train on."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from service.store import tickets
from service.store.database import Database

_PAGE = 500


def examples(database: Database) -> Iterator[dict[str, Any]]:
    """Tickets whose present text was corrected or confirmed: id, text, and labels by field of the prediction.

    The labels are the prediction's with what was corrected, the last word on a field: one that a correction leaves out
    is confirmed by it. Raises StoreUnavailableError.
    """
    after = 0
    while page := database.read_now(partial(tickets.corrected, after=after, limit=_PAGE)):
        for stored in page:
            labels = _predicted(stored.row.tags)
            for correction in stored.corrections:
                if correction.revision == stored.row.revision:
                    labels |= correction.labels
            yield {"id": stored.row.id, "text": stored.row.text, "labels": labels}
        after = page[-1].row.seq


def _predicted(tags: dict[str, Any]) -> dict[str, Any]:
    """A list where several labels may hold, else one."""
    several = {name: [item["label"] for item in found] for name, found in tags.items() if isinstance(found, list)}
    return several | {name: found["label"] for name, found in tags.items() if isinstance(found, dict)}
