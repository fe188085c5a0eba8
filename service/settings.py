"""All settings of the service, in one validated class."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

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
    development: bool = Field(default=False, description="No API keys are asked for; only on a loopback address.")
    log_format: Literal["json", "text"] = Field(default="json", description="How the log is written.")
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Web origins that may call the API, separated by commas; none by default."
    )

    max_body_bytes: int = Field(default=2 * 1024 * 1024, ge=1024, description="Largest request body.")
    max_text_characters: int = Field(default=20_000, ge=1, description="Longest text.")
    max_batch_items: int = Field(default=MOST_ITEMS, ge=1, le=MOST_ITEMS, description="Most texts in one batch.")
    max_queue_texts: int = Field(default=2_048, ge=1, description="Most texts that wait for the model.")
    max_wait_seconds: float = Field(
        default=5.0, gt=0, description="A request that would wait longer for the model is refused with 503."
    )
    request_timeout_seconds: float = Field(default=30.0, gt=0, description="Longest that a request may take.")
    shutdown_timeout_seconds: int = Field(
        default=30, ge=0, description="How long open requests may still run once the service is told to stop."
    )
    rate_limit_per_minute: int = Field(default=6_000, ge=0, description="Requests a minute and key; 0: no limit.")

    database_url: str = Field(
        default="sqlite:///fankui.db",
        min_length=1,
        repr=False,
        description="Where tickets are kept: sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME.",
    )
    database_pool: int = Field(default=5, ge=1, le=100, description="Most database connections for reading.")
    mask_personal_data: bool = Field(
        default=False, description="Mask phone, ID, card and plate numbers, e-mails and addresses before storage."
    )
    retention_days: int | None = Field(
        default=None, ge=1, description="`fankui db purge` erases tickets received earlier; by default none."
    )
    idempotency_hours: int = Field(default=24, ge=1, description="How long an Idempotency-Key is remembered.")
    claim_minutes: int = Field(default=15, ge=1, description="How long a claimed review stays with its reviewer.")
    review_sample: float = Field(
        default=0.02, ge=0, le=1, description="Share of sure answers that are also put up for review, as a check."
    )
    webhook_timeout_seconds: float = Field(default=10.0, gt=0, description="Longest that a receiver may take.")
    webhook_private_addresses: bool = Field(
        default=False, description="Webhooks may go to private and loopback addresses, and over plain HTTP."
    )

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        scheme, separator, rest = value.partition("://")
        if scheme in ("postgres", "postgresql"):
            return f"postgresql+psycopg://{rest}"
        if separator and (scheme == "postgresql+psycopg" or (scheme == "sqlite" and len(rest) > 1 and rest[0] == "/")):
            return value
        raise ValueError("it must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME")

    @model_validator(mode="after")
    def _development_stays_local(self) -> Self:
        if self.development and not _is_loopback(self.host):
            raise ValueError(f"development is for loopback addresses only, and host is {self.host}")
        return self

    @classmethod
    def read(cls, **overrides: Any) -> Self:
        """The settings of the environment; an override that is not None wins. Raises SettingsError."""
        try:
            return cls(**{name: value for name, value in overrides.items() if value is not None})
        except ValidationError as error:
            raise SettingsError(f"A setting (option, or FANKUI_… variable) is not valid: {describe(error)}") from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
