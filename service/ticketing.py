"""What happens to a ticket: classified once, masked if so set, stored, told to webhooks, corrected, erased."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from fankui.errors import FankuiError
from fankui.privacy import mask
from fankui.tags import Tags, Untaggable
from fankui.taxonomy import Taxonomy
from service.inference import Inference
from service.metrics import Metrics
from service.settings import Settings
from service.store import tickets, webhooks, writes
from service.store.database import Database
from service.store.tickets import Labels, NewTicket, Stored
from service.together import Together

_HASHES = 1 << 32


class BlankTicketError(FankuiError):
    """A ticket's text shows nothing to classify."""


class LabelsError(FankuiError):
    """A correction names labels that there are not; `field` is the path of the fault."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Ticketing:
    """All that the service does with tickets."""

    def __init__(self, settings: Settings, database: Database, inference: Inference, metrics: Metrics) -> None:
        self._settings = settings
        self._database = database
        self._lookups = Together(self._found)
        self._storing = Together(self._stored)
        self._inference = inference
        self._metrics = metrics
        self._under_way: dict[tuple[str, str], _Shared] = {}
        self.delivery_due = asyncio.Event()
        """Set when a ticket was stored that a webhook waits for."""

    async def submit(
        self,
        key_id: str,
        *,
        ticket_id: str,
        text: str,
        channel: str | None,
        created_at: datetime | None,
        attributes: Mapping[str, Any],
    ) -> Stored:
        """Classify and store a ticket; the same id with the same text answers what is stored.

        Raises BlankTicketError, and the errors of Inference.tag and Database.write.
        """
        digest = tickets.text_hash(text)

        async def work() -> Stored:
            # Refused before the look into the store, or not at all: a refusal that has waited helps nobody.
            with self._inference.scheduler.expecting():
                known = await self._lookups.ask((ticket_id, digest))
            if known:
                return known
            new = await self._classified(ticket_id, text, digest, channel, created_at, attributes)
            return await self._storing.ask((key_id, new))

        # Many posts of one ticket at the same time are classified once.
        shared = self._under_way.get((ticket_id, digest))
        if shared is None:
            shared = self._under_way[ticket_id, digest] = _Shared(asyncio.ensure_future(work()))
            shared.task.add_done_callback(lambda _: self._under_way.pop((ticket_id, digest), None))
        return await shared.outcome()

    async def _classified(
        self,
        ticket_id: str,
        text: str,
        digest: str,
        channel: str | None,
        created_at: datetime | None,
        attributes: Mapping[str, Any],
    ) -> NewTicket:
        (tags,) = await self._inference.tag([text], [ticket_id], admitted=True)
        if isinstance(tags, Untaggable):
            raise BlankTicketError(tags.note)
        self._metrics.tags(tags)
        content = tags.model_dump(mode="json")
        if self._settings.mask_personal_data:
            text = mask(text)
            attributes = {name: _masked(value) for name, value in attributes.items()}
            for cause in content["causes"]:
                for span in cause["evidence"]:
                    span["text"] = text[span["start"] : span["end"]]
        return NewTicket(
            id=ticket_id,
            text=text,
            text_sha256=digest,
            channel=channel,
            attributes=attributes,
            created_at=created_at or datetime.now(UTC),
            tags=content,
            labels=_labels_of(tags),
            confidence=_confidence(tags),
            review="uncertain" if tags.needs_review else "sample" if self._is_sampled(digest) else None,
        )

    async def _found(self, wanted: Sequence[tuple[str, str]]) -> list[Stored | None]:
        """Of each id and hash of a text the ticket, if it is there with this text."""
        there = await self._database.read(lambda connection: tickets.find_same(connection, wanted))
        return [there.get(ticket) for ticket in wanted]

    async def _stored(self, new: Sequence[tuple[str, NewTicket]]) -> list[Stored]:
        """Store tickets, each with the id of the key that it came with, and tell webhooks of them."""

        def work(connection: Connection) -> tuple[list[Stored], int]:
            now = datetime.now(UTC)
            put = tickets.put_all(connection, [ticket for _, ticket in new], now)
            fresh = [(key_id, stored) for (key_id, _), (stored, is_new) in zip(new, put, strict=True) if is_new]
            writes.record_all(connection, [(key_id, stored.row.id) for key_id, stored in fresh], "ticket.store", now)
            events = sum(webhooks.announce(connection, stored, now) for _, stored in fresh)
            return [stored for stored, _ in put], events

        stored, events = await self._database.write(work)
        if events:
            self.delivery_due.set()
        return stored

    def _is_sampled(self, digest: str) -> bool:
        """Whether a ticket is put up for review although the model is sure: by its text, so alike in all replicas."""
        return int(digest[:8], 16) < self._settings.review_sample * _HASHES

    async def correct(
        self, key_id: str, ticket_id: str, *, by: str, why: str | None, labels: Mapping[str, str | Sequence[str]]
    ) -> Stored | None:
        """Store a correction beside the prediction; None when there is no such ticket. Raises LabelsError."""
        taxonomy = self._inference.tagger.bundle.taxonomy
        check_labels(labels, taxonomy)
        if why is not None and self._settings.mask_personal_data:
            why = mask(why)

        def work(connection: Connection) -> Stored | None:
            now = datetime.now(UTC)
            found = tickets.find(connection, ticket_id, lock=True)
            if found is None:
                return None
            writes.record(connection, key_id, "ticket.correct", ticket_id, now)
            holds = _corrected(found.labels, labels, taxonomy)
            return tickets.correct(connection, ticket_id, by=by, why=why, labels=labels, holds=holds, now=now)

        return await self._database.write(work)

    async def erase(self, key_id: str, ticket_id: str) -> bool:
        """Erase a ticket and all that is kept of it; whether there was one."""

        def work(connection: Connection) -> bool:
            erased = tickets.erase(connection, ticket_id)
            if erased:
                writes.forget_subject(connection, ticket_id)
                writes.record(connection, key_id, "ticket.erase", ticket_id, datetime.now(UTC))
            return erased

        return await self._database.write(work)


class _Shared:
    """One piece of work for several waiting requests; cancelled when the last of them has gone."""

    def __init__(self, task: asyncio.Future[Stored]) -> None:
        self.task = task
        self._waiting = 0

    async def outcome(self) -> Stored:
        self._waiting += 1
        try:
            return await asyncio.shield(self.task)
        finally:
            self._waiting -= 1
            if not self._waiting and not self.task.done():
                self.task.cancel()


def _masked(value: Any) -> Any:
    if isinstance(value, list):
        return [_masked(item) for item in value]
    return mask(value) if isinstance(value, str) else value


def _labels_of(tags: Tags) -> Labels:
    return Labels(
        tags.sentiment.grade,
        tags.sentiment.polarity,
        tags.request.label,
        tuple(sorted(cause.label for cause in tags.causes)),
    )


def _confidence(tags: Tags) -> float:
    """How sure the model is of a text: of the least sure of its grade and causes."""
    return min([tags.sentiment.score, *(cause.score for cause in tags.causes)])


def not_a_label(value: object, known: Iterable[object]) -> str:
    """The sentence for a label that there is not; `known`: those that there are."""
    shown = value[:64] if isinstance(value, str) else value
    return f"{shown!r} is not a label; there are: {', '.join(map(str, known))}."


def check_labels(labels: Mapping[str, str | Sequence[str]], taxonomy: Taxonomy) -> None:
    """Hold the labels of a correction, by field of a prediction, against the taxonomy. Raises LabelsError."""
    heads = {head.field: head for head in taxonomy.heads}
    for field, value in labels.items():
        path = f"labels.{field[:64]}"
        if field not in heads:
            raise LabelsError(path, f"This is not known; there are: {', '.join(heads)}.")
        head = heads[field]
        if head.kind == "multi" and isinstance(value, str):
            raise LabelsError(path, "This must be a list of labels.")
        if head.kind != "multi" and not isinstance(value, str):
            raise LabelsError(path, "This must be one label.")
        for label in [value] if isinstance(value, str) else value:
            if label not in head.label_ids:
                raise LabelsError(path, not_a_label(label, head.label_ids))
        if not isinstance(value, str) and len(set(value)) < len(value):
            raise LabelsError(path, "A label is named twice.")


def _corrected(before: Labels, labels: Mapping[str, str | Sequence[str]], taxonomy: Taxonomy) -> Labels:
    grade, polarity = before.grade, before.polarity
    if "sentiment" in labels:
        head = taxonomy.head("sentiment")
        label = head.labels[head.index(str(labels["sentiment"]))]
        grade, polarity = label.grade or grade, label.polarity or polarity
    causes = tuple(sorted(labels["causes"])) if "causes" in labels else before.causes
    return Labels(grade, polarity, str(labels.get("request", before.request)), causes)
