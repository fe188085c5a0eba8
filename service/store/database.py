"""The way to the database: reads in threads, writes together.

Writes of one process go through one thread that puts those which wait into one transaction: a commit costs a disk
flush, and SQLite lets one writer in at a time anyway. A write is done when its commit is.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Self, TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from anyio import CapacityLimiter, to_thread
from sqlalchemy import Connection, Engine, ExceptionContext, QueuePool, create_engine, event, make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from fankui.errors import FankuiError
from service.settings import Settings

log = logging.getLogger(__name__)

_T = TypeVar("_T")
Work = Callable[[Connection], _T]

_MIGRATIONS = Path(__file__).with_name("migrations")
_MOST_TOGETHER = 64
_BUSY_SECONDS = 10
_UNDEFINED_TABLE = "42P01"
"""PostgreSQL's SQLSTATE."""


class StoreUnavailableError(FankuiError):
    """The database cannot be reached, is full, or has not been migrated."""


@dataclass(slots=True)
class _Write:
    """A write on its way, and what becomes of it."""

    work: Work[Any]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Any] = field(init=False)
    result: Any = None
    error: Exception | None = None

    def __post_init__(self) -> None:
        self.done = self.loop.create_future()


class Database:
    """One database and its connections. Thread-safe; close it at the end."""

    def __init__(self, url: str, *, pool: int = 5) -> None:
        self.url = url
        self.engine = _engine(url, pool)
        # PostgreSQL would be asked twice more a read, to begin and to end a transaction.
        self._reading = self.engine if self.is_embedded else self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._readers = CapacityLimiter(pool)
        self._waiting: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_on, name="store-writer", daemon=True)
        self._writer.start()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The database of the settings."""
        return cls(settings.database_url, pool=settings.database_pool)

    @property
    def is_embedded(self) -> bool:
        """Whether it is a file of this program's own."""
        return self.engine.dialect.name == "sqlite"

    @property
    def connections_in_use(self) -> int:
        """Connections that are doing something now."""
        pool = self.engine.pool
        return pool.checkedout() if isinstance(pool, QueuePool) else 0

    def close(self) -> None:
        """Finish what was handed over, then let the connections go."""
        self._waiting.put(None)
        self._writer.join()
        self.engine.dispose()

    async def read(self, work: Work[_T]) -> _T:
        """Run `work` on a connection in a thread. Raises StoreUnavailableError."""
        return await to_thread.run_sync(self.read_now, work, limiter=self._readers)

    async def write(self, work: Work[_T]) -> _T:
        """Run `work` in a transaction; returns when that is committed. Raises StoreUnavailableError.

        `work` may run twice, the first time without effect.
        """
        write = _Write(work, asyncio.get_running_loop())
        self._waiting.put(write)
        result: _T = await write.done
        return result

    def read_now(self, work: Work[_T]) -> _T:
        """`read` for code outside an event loop."""
        try:
            return self._read(work)
        except (OperationalError, PoolTimeoutError) as error:
            if not getattr(error, "connection_invalidated", False):
                raise _unavailable(error) from error
        try:  # The connection had died since it was last used; now there are fresh ones.
            return self._read(work)
        except (OperationalError, PoolTimeoutError) as error:
            raise _unavailable(error) from error

    def _read(self, work: Work[_T]) -> _T:
        with self._reading.connect() as connection:
            if self.is_embedded:
                connection.exec_driver_sql("BEGIN")  # Each statement sees the same; it ends with the connection's use.
            return work(connection)

    def write_now(self, work: Work[_T]) -> _T:
        """`write` for code outside an event loop."""
        try:
            with self._transaction() as connection:
                return work(connection)
        except (OperationalError, PoolTimeoutError) as error:
            raise _unavailable(error) from error

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self.engine.begin() as connection:
            if self.is_embedded:  # One that reads first and writes then would fail if another process wrote in between.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    def _write_on(self) -> None:
        while True:
            batch = [self._waiting.get()]
            while len(batch) < _MOST_TOGETHER and not self._waiting.empty():
                batch.append(self._waiting.get())
            last = None in batch
            writes = [item for item in batch if item is not None]
            if writes:
                self._write_together(writes)
                _tell(writes)
            if last:
                return

    def _write_together(self, writes: Sequence[_Write]) -> None:
        committing = False
        try:
            with self._transaction() as connection:
                for write in writes:
                    write.result = write.work(connection)
                committing = True
        except Exception as error:
            for write in writes:
                if committing:  # It may have been committed all the same: done again, it might be done twice.
                    write.error = _unavailable(error)
                else:  # One has spoilt it for all (a refusal, a deadlock): each on its own, then.
                    self._write_alone(write)

    def _write_alone(self, write: _Write) -> None:
        try:
            write.result = self.write_now(write.work)
        except Exception as error:
            write.error = error

    def upgrade(self) -> None:
        """Bring the tables to the newest version. Raises StoreUnavailableError."""
        try:
            command.upgrade(_alembic(self.engine), "head")
        except OperationalError as error:
            raise _unavailable(error) from error

    async def check(self) -> None:
        """Raises StoreUnavailableError unless the database answers and has the newest tables."""
        found = await self.read(lambda connection: MigrationContext.configure(connection).get_current_revision())
        newest = _newest()
        if found != newest:
            raise StoreUnavailableError(
                f"The database is at version {found or 'none'}, this program needs {newest}: run `fankui db upgrade`."
            )


def _tell(writes: Sequence[_Write]) -> None:
    """Wake those who wait, once for each event loop: each waking costs it a switch of threads."""
    for loop in {id(write.loop): write.loop for write in writes}.values():
        with suppress(RuntimeError):  # It is closed: nobody waits there any more, and what is committed stays.
            loop.call_soon_threadsafe(_settle, [write for write in writes if write.loop is loop])


def _settle(writes: Sequence[_Write]) -> None:
    for write in writes:
        if write.done.done():
            continue  # Whoever waited has gone; what is committed stays.
        if write.error:
            write.done.set_exception(write.error)
        else:
            write.done.set_result(write.result)


def _unavailable(error: Exception) -> StoreUnavailableError:
    # The driver's words may hold parameters, that is texts of customers: only its first line, without statement.
    reason = str(getattr(error, "orig", None) or error).splitlines()[0][:200]
    log.error("The database failed: %s", reason)
    return StoreUnavailableError(
        "The ticket store does not answer at the moment; try again soon. What was stored "
        "after all is recognised by its id or Idempotency-Key."
    )


def _engine(url: str, pool: int) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        engine = create_engine(url, pool_size=pool + 1, max_overflow=0, pool_timeout=5)
        event.listen(engine, "handle_error", _no_tables)
        return engine
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        url, pool_size=pool + 1, max_overflow=0, pool_timeout=5, connect_args={"timeout": _BUSY_SECONDS}
    )

    @event.listens_for(engine, "connect")
    def _(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # Transactions begin where this module says so.
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")  # An answered ticket survives a power cut.
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    return engine


def _no_tables(context: ExceptionContext) -> None:
    """A table that there is not yet is an operational error in SQLite, and one of the program in PostgreSQL."""
    error = context.original_exception
    if getattr(error, "sqlstate", None) == _UNDEFINED_TABLE:
        raise OperationalError(context.statement, None, error) from error


@cache
def _newest() -> str | None:
    return ScriptDirectory(str(_MIGRATIONS)).get_current_head()


def _alembic(engine: Engine) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["engine"] = engine
    return config
