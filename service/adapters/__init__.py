"""What helpdesk systems send, as one kind of ticket.

An adapter is a pure function from the JSON of a webhook or an API to an `InboundTicket`. Fields that it has no use for
become metadata, except those of `WITHHELD`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from types import MappingProxyType
from typing import Any

from service.adapters import systems
from service.adapters.fields import WITHHELD, AdapterError, Fields
from service.adapters.html import html_to_text
from service.adapters.systems import InboundTicket

__all__ = ["ADAPTERS", "WITHHELD", "AdapterError", "InboundTicket", "html_to_text"]

_MOST_FIELDS = 50  # What `service.api.schemas.NewTicket` takes.


def _adapt(system: str, read: Callable[[Fields], InboundTicket], payload: Mapping[str, Any]) -> InboundTicket:
    ticket = read(Fields(payload))
    metadata = dict(islice(ticket.metadata.items(), _MOST_FIELDS))
    return replace(ticket, id=f"{system}:{ticket.id}", metadata=metadata)


_READERS = {"zendesk": systems.zendesk, "freshdesk": systems.freshdesk, "generic": systems.generic}

ADAPTERS: Mapping[str, Callable[[Mapping[str, Any]], InboundTicket]] = MappingProxyType(
    {system: partial(_adapt, system, read) for system, read in _READERS.items()}
)
"""By the name of the system; each raises AdapterError for a payload that is no ticket, whatever it holds."""
