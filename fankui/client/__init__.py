"""A client of the HTTP service, for programs that wait (`Client`) and for asyncio (`AsyncClient`)."""

from fankui.client.answers import (
    Correction,
    EarlierRevision,
    Fault,
    Finding,
    Guidance,
    HeldLabels,
    Model,
    Prediction,
    Readiness,
    Review,
    Ticket,
    TicketPage,
    TicketWithHistory,
)
from fankui.client.calls import TicketFilters
from fankui.client.clients import AsyncClient, Client
from fankui.client.errors import ApiError, UnreachableError

__all__ = [
    "ApiError",
    "AsyncClient",
    "Client",
    "Correction",
    "EarlierRevision",
    "Fault",
    "Finding",
    "Guidance",
    "HeldLabels",
    "Model",
    "Prediction",
    "Readiness",
    "Review",
    "Ticket",
    "TicketFilters",
    "TicketPage",
    "TicketWithHistory",
    "UnreachableError",
]
