"""What routes need, as types: a signature tells all that a route touches."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from fankui.engine import Tagger
from service.inference import Inference
from service.problem import NOT_JSON, Problem
from service.settings import Settings


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _inference(request: Request) -> Inference:
    inference: Inference = request.app.state.inference
    return inference


async def _tagger(request: Request) -> Tagger:
    return (await _inference(request)).tagger


async def require_json(request: Request) -> None:
    """Refuse a body that does not say it is JSON. Raises Problem (415)."""
    sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if sent != "application/json" and not (sent.startswith("application/") and sent.endswith("+json")):
        found = f"this was {sent[:100]}" if sent else "there was no such header"
        raise Problem(NOT_JSON, f"Send JSON with the header Content-Type: application/json; {found}.")


SettingsDep = Annotated[Settings, Depends(_settings)]
InferenceDep = Annotated[Inference, Depends(_inference)]
TaggerDep = Annotated[Tagger, Depends(_tagger)]
