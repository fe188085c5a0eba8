"""All settings of the service, in one validated class."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from fankui.errors import FankuiError, describe

MOST_ITEMS = 256


class SettingsError(FankuiError):
    """A setting has a value that cannot be used."""


class Settings(BaseSettings):
    """Read from the environment (`FANKUI_PORT` sets `port`); an empty variable counts as not set."""

    model_config = SettingsConfigDict(env_prefix="FANKUI_", env_ignore_empty=True, extra="forbid", frozen=True)

    model: Path | None = Field(default=None, description="Folder of the model; by default models/CURRENT names it.")
    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")
    threads: int = Field(default=0, ge=0, description="Cores that the model may use; 0 means all.")
    max_body_bytes: int = Field(default=2 * 1024 * 1024, ge=1024, description="Largest request body.")
    max_text_characters: int = Field(default=20_000, ge=1, description="Longest text.")
    max_batch_items: int = Field(default=MOST_ITEMS, ge=1, le=MOST_ITEMS, description="Most texts in one batch.")
    request_timeout_seconds: float = Field(default=60.0, gt=0, description="Longest that a request may take.")
    shutdown_timeout_seconds: int = Field(
        default=30, ge=0, description="How long open requests may still run once the service is told to stop."
    )

    @classmethod
    def read(cls, **overrides: Any) -> Self:
        """The settings of the environment; an override that is not None wins. Raises SettingsError."""
        try:
            return cls(**{name: value for name, value in overrides.items() if value is not None})
        except ValidationError as error:
            raise SettingsError(f"A setting (option, or FANKUI_… variable) is not valid: {describe(error)}") from error
