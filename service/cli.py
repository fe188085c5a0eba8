"""`fankui serve`, `fankui keys`, `fankui db`, `fankui config`: for whoever runs the service."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
import uvicorn
from rich.console import Console
from rich.table import Table
from sqlalchemy import make_url

from fankui.errors import FankuiError
from service import corrected, logs
from service.app import create_app
from service.auth import SCOPES, new_key
from service.settings import Settings, SettingsError
from service.store import keys as stored_keys
from service.store import tickets, writes
from service.store.database import Database

_ALLOCATIONS = 10_000
"""More objects made than freed after which garbage is looked for; Python's default is 700."""

serve_command = typer.Typer(add_completion=False)
keys_command = typer.Typer(add_completion=False, no_args_is_help=True, help="API keys: make, list, revoke.")
db_command = typer.Typer(
    add_completion=False, no_args_is_help=True, help="The ticket store: upgrade, purge, corrections."
)
config_command = typer.Typer(add_completion=False)


def _option(setting: str) -> Any:
    """An option that sets a field of Settings, explained by it."""
    field = Settings.model_fields[setting]
    default = "" if field.default is None else f", {field.default}"
    return typer.Option(help=f"{field.description} (FANKUI_{setting.upper()}{default})")


def _settings(**overrides: Any) -> Settings:
    try:
        return Settings.read(**overrides)
    except SettingsError as error:
        typer.echo(error, err=True)
        raise typer.Exit(2) from error


@contextmanager
def _database(*, ready: bool = True) -> Iterator[Database]:
    """The database of the settings, closed at the end; `ready`: with its tables, which an embedded one gets here."""
    database = Database.of(_settings())
    try:
        if ready and database.is_embedded:
            database.upgrade()
        yield database
    except FankuiError as error:
        typer.echo(error, err=True)
        raise typer.Exit(1) from error
    finally:
        database.close()


@serve_command.command()
def serve(
    host: Annotated[str | None, _option("host")] = None,
    port: Annotated[int | None, _option("port")] = None,
    model: Annotated[Path | None, _option("model")] = None,
    threads: Annotated[int | None, _option("threads")] = None,
    development: Annotated[bool, typer.Option("--dev", help=Settings.model_fields["development"].description)] = False,
) -> None:
    """Serve the model over HTTP; /docs describes the API. An option wins over its environment variable."""
    settings = _settings(host=host, port=port, model=model, threads=threads, development=development or None)
    logs.configure(settings.log_format)
    _allow_many_connections()
    app = create_app(settings)
    _calm_collector()
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        server_header=False,
        proxy_headers=False,  # Nothing here depends on where a request came from.
        access_log=False,
        log_config=None,
        # Longer than clients and proxies keep idle connections: they should be the ones to close them, or a request
        # sent at that moment is lost.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=settings.shutdown_timeout_seconds,
    )


def _calm_collector() -> None:
    """Search for cyclic garbage among what requests make, less often, and never among what is there from the start.

    By default the hundreds of thousands of objects of the libraries are gone through again and again, which stopped
    all threads for up to 0.2 s at a time and took a tenth of the time under load.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS, 20, 20)


def _allow_many_connections() -> None:
    """Each connection is an open file, and systems allow few unless asked; Windows has no such limit."""
    try:
        import resource
    except ImportError:
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@keys_command.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="Whose key it is, for instance crm.")],
    scope: Annotated[list[str], typer.Option(help=f"What it may do; may be repeated: {', '.join(SCOPES)}.")],
) -> None:
    """Make a key and print it; it cannot be shown again."""
    if not 0 < len(name) <= 128 or not name.isprintable():
        typer.echo("The name must be 1 to 128 printable characters.", err=True)
        raise typer.Exit(2)
    try:
        token, key = new_key(name, scope)
    except FankuiError as error:
        typer.echo(error, err=True)
        raise typer.Exit(2) from error
    with _database() as database:
        database.write_now(lambda connection: _add(connection, key))
    typer.echo(token)
    typer.echo("Keep it safe: it is stored only as a hash and cannot be shown again.", err=True)


def _add(connection: Any, key: stored_keys.NewKey) -> None:
    now = datetime.now(UTC)
    stored_keys.add(connection, key, now)
    writes.record(connection, "cli", "key.create", key.id, now)


@keys_command.command("list")
def list_keys() -> None:
    """List all keys, revoked ones too."""
    table = Table("id", "name", "scopes", "created", "revoked")
    with _database() as database:
        for row in database.read_now(stored_keys.list_all):
            revoked = f"{row['revoked_at']:%Y-%m-%d %H:%M}" if row["revoked_at"] else ""
            created = f"{row['created_at']:%Y-%m-%d %H:%M}"
            table.add_row(row["id"], row["name"], " ".join(row["scopes"]), created, revoked)
    Console().print(table)


@keys_command.command("revoke")
def revoke_key(key_id: Annotated[str, typer.Argument(help="The id, as `fankui keys list` shows it.")]) -> None:
    """Revoke a key; running services refuse it within ten seconds."""

    def work(connection: Any) -> bool:
        now = datetime.now(UTC)
        revoked = stored_keys.revoke(connection, key_id, now)
        if revoked:
            writes.record(connection, "cli", "key.revoke", key_id, now)
        return revoked

    with _database() as database:
        if not database.write_now(work):
            typer.echo(f"There is no key {key_id!r} in force; `fankui keys list` shows them.", err=True)
            raise typer.Exit(2)
    typer.echo(f"Revoked {key_id}.")


@db_command.command()
def upgrade() -> None:
    """Bring the tables to the version that this program needs."""
    with _database(ready=False) as database:
        database.upgrade()
    typer.echo("The tables are up to date.")


@db_command.command()
def purge(
    older_than_days: Annotated[
        int | None, typer.Option(min=1, help="Erase tickets received earlier (FANKUI_RETENTION_DAYS).")
    ] = None,
) -> None:
    """Erase tickets past their retention period, and answers kept for Idempotency-Keys past theirs."""
    settings = _settings()
    days = older_than_days or settings.retention_days
    now, erased = datetime.now(UTC), 0
    with _database() as database:
        answers = database.write_now(
            lambda connection: writes.forget(connection, now - timedelta(hours=settings.idempotency_hours))
        )
        while days and (n := database.write_now(lambda c: tickets.purge(c, now - timedelta(days=days)))):
            erased += n
            typer.echo(f"{erased} tickets erased …", err=True)
        if erased:
            database.write_now(lambda c: writes.record(c, "cli", "ticket.purge", f"{erased} tickets", now))
    period = f"older than {days} days" if days else "(no retention period is set)"
    typer.echo(f"Erased {erased} tickets {period} and {answers} answers to old Idempotency-Keys.")


@db_command.command()
def corrections(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write, JSON lines.")],
) -> None:
    """Write the tickets that people looked at as texts to train on; a recipe names the file in `data: corrected:`.

    Their labels are the prediction's with what was corrected: a field left out of a correction is confirmed by it.
    """
    written, unfinished = 0, output.with_name(f".{output.name}.partial")
    with _database() as database:
        try:
            with unfinished.open("w", encoding="utf-8") as lines:
                for example in corrected.examples(database):
                    lines.write(json.dumps(example, ensure_ascii=False) + "\n")
                    written += 1
            unfinished.replace(output)
        except OSError as error:
            typer.echo(f"{output} cannot be written: {error.strerror}.", err=True)
            raise typer.Exit(2) from error
    typer.echo(f"Wrote {written} tickets that people corrected or confirmed to {output}.")


@config_command.command()
def config() -> None:
    """Print the settings in force and where each comes from."""
    settings = _settings()
    table = Table("setting", "value", "from", "meaning")
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        if name == "database_url":
            value = make_url(value).render_as_string(hide_password=True)
        source = f"FANKUI_{name.upper()}" if name in settings.model_fields_set else "default"
        table.add_row(name, str(value), source, field.description)
    Console(width=160 if not Console().is_terminal else None).print(table)
