"""`everfold sink sql`: one database row per job, and on request one per event.

Rule: a row is replaced only by a later state of its job, in the same transaction as the rows of the
events, so that a repeated delivery changes nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol, cast

import anyio
from sqlalchemy import ColumnElement, Connection, Insert, Table, and_, event, func, or_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as NoTurn
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.sql.elements import KeyedColumnElement

from everfold.projector.subscribing.delivery import TYPES, Delivery
from everfold.projector.subscribing.subscription import BEGINNING, GiveUp, Subscription, TargetAway
from everfold.sinks.rows import event_row, job_row
from everfold.sinks.schema import bring_up_to_date
from everfold.sinks.tables import EVENTS, JOBS
from everfold.streams.appending.log import Log
from everfold.streams.border.addresses import masked_address, masked_text
from everfold.streams.closing import CLOSE_WITHIN_S
from everfold.streams.errors import Misconfigured, Unavailable

BATCH = 500

TIMEOUT_S = 45.0

WITHOUT_PROGRESS = tuple(kind for kind in TYPES if kind not in ("job.progressed",))

AWAY = (DBAPIError, NoTurn, OSError)
"""What says that the database cannot be used now; OSError is also what a timeout raises."""

DATA_STATES = "22"
"""How PostgreSQL's codes for values that it cannot store begin."""

DRIVERS = {"sqlite": ("sqlite+aiosqlite", "sql"), "postgresql": ("postgresql+asyncpg", "postgres")}


class SqlSink(Subscription):
    """Open it with `open` before it consumes, close it with `aclose`.

    `events` also writes a row per event; `progress` also updates the job's row with each progress.
    `timeout_s` bounds one transaction, the wait for its turn and for locks included.
    Raises Misconfigured for an address that is not SQLite's or PostgreSQL's, or without its extra.
    """

    def __init__(
        self,
        log: Log,
        url: str,
        *,
        name: str = "sql",
        events: bool = False,
        progress: bool = False,
        start: str = BEGINNING,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._url, self._limit_s = _checked(url), timeout_s
        super().__init__(
            name,
            types=() if progress else WITHOUT_PROGRESS,
            start=start,
            batch=BATCH,
            timeout_s=2 * timeout_s + 15.0,  # the tables may have to be made first
            about=f"sql {_shown(self._url)}",
        )
        self._namespace, self._generation = log.keys.namespace, log.generation
        self._events = events
        self._engine: AsyncEngine = _engine(self._url, timeout_s / 3)
        self._is_open = False

    async def open(self) -> None:
        """Create the tables or update them. Raises Misconfigured or Unavailable, and closes then.

        Without it the first delivery does that, and waits until the database can be used.
        """
        try:
            with anyio.fail_after(self._limit_s):
                async with self._engine.begin() as connection:
                    await connection.run_sync(bring_up_to_date)
        except Misconfigured:
            await self.aclose()
            raise
        except AWAY as error:
            await self.aclose()
            raise Unavailable(
                f"the database {_shown(self._url)} cannot be used: {_told(error)}"
            ) from error
        self._is_open = True

    async def aclose(self) -> None:
        """Close the connections to the database."""
        with anyio.move_on_after(CLOSE_WITHIN_S, shield=True):
            await self._engine.dispose()

    async def deliver(self, deliveries: Sequence[Delivery]) -> None:
        """Write the rows in one transaction.

        Raises TargetAway while the database cannot be used, GiveUp for values that it rejects.
        """
        if not self._is_open:
            try:
                await self.open()
            except (Unavailable, Misconfigured) as error:
                raise TargetAway(str(error)) from error
        jobs = {
            delivery.job.job_id: delivery.job for delivery in deliveries
        }  # the last state of each
        rows = [job_row(self._namespace, self._generation, job) for job in jobs.values()]
        told = [event_row(self._namespace, d) for d in deliveries] if self._events else []
        try:
            with anyio.fail_after(self._limit_s):
                async with self._engine.begin() as connection:
                    if told:
                        await connection.execute(self._upsert(EVENTS, _is_later_event), told)
                    await connection.execute(self._upsert(JOBS, _is_later_state), rows)
        except AWAY as error:
            if _is_of_values(error):
                raise GiveUp(f"the database refuses it: {_told(error)}") from error
            raise TargetAway(f"database: {_told(error)}") from error

    def _upsert(self, table: Table, is_later: IsLater) -> Insert:
        is_sqlite = self._engine.dialect.name == "sqlite"
        insert = sqlite.insert(table) if is_sqlite else postgresql.insert(table)
        keys = [column.name for column in table.primary_key]
        return insert.on_conflict_do_update(
            index_elements=keys,
            set_={
                column.name: insert.excluded[column.name]
                for column in table.columns
                if column.name not in keys
            },
            where=is_later(table, insert.excluded),
        )


class Columns(Protocol):
    def __getitem__(self, name: str) -> KeyedColumnElement[object]: ...


class IsLater(Protocol):
    def __call__(self, table: Table, new: Columns) -> ColumnElement[bool]: ...


def _is_later_state(table: Table, new: Columns) -> ColumnElement[bool]:
    """A namespace created again, a log that lost events, or an id that is used again restarts with
    lower numbers. What an older table did not have is NULL, and anything is later."""
    old, rewound = table.c, func.coalesce(table.c.rewound, 0)
    return or_(
        old.generation.is_distinct_from(new["generation"]),
        new["rewound"] > rewound,
        old.submitted_at.is_(None),
        new["submitted_at"] > old.submitted_at,
        and_(
            new["rewound"] == rewound,
            new["submitted_at"] == old.submitted_at,
            new["seq"] > func.coalesce(old.seq, 0),
        ),
    )


def _is_later_event(table: Table, new: Columns) -> ColumnElement[bool]:
    """After a log lost events, another entry may carry the same number."""
    old = table.c
    is_later = or_(old.time.is_(None), new["time"] >= old.time)
    return and_(old.entry_id.is_distinct_from(new["entry_id"]), is_later)


def _checked(text: str) -> URL:
    """Return the address with its asynchronous driver. Raises Misconfigured."""
    url = None
    with suppress(ArgumentError, ValueError):  # their texts show parts of it
        url = make_url(text)
    if url is None:
        raise Misconfigured(
            f"{masked_address(text)!r} is not a database address; write "
            "sqlite+aiosqlite:///jobs.db or postgresql+asyncpg://host/database, with the user, a "
            "colon, the password and an @ before the host"
        )
    kind = url.drivername.partition("+")[0].replace("postgres", "postgresql", 1)
    kind = kind.replace("postgresqlql", "postgresql")
    if kind not in DRIVERS:
        raise Misconfigured(f"databases of the kind {kind!r} are not supported; sqlite, postgresql")
    return url.set(drivername=DRIVERS[kind][0])


def _engine(url: URL, wait_s: float) -> AsyncEngine:
    """Open a pool; who waits so many seconds for its turn, or for SQLite's lock, is told so."""
    is_sqlite = url.drivername.startswith("sqlite")
    try:
        if not is_sqlite:
            return create_async_engine(
                url, pool_size=8, max_overflow=0, pool_timeout=wait_s, pool_pre_ping=True
            )
        # SQLite has one writer: waiting for the one connection avoids errors about its lock.
        engine = create_async_engine(
            url,
            pool_size=1,
            max_overflow=0,
            pool_timeout=wait_s,
            connect_args={"timeout": wait_s},
        )
    except (ImportError, NoSuchModuleError) as error:
        extra = DRIVERS[url.drivername.partition("+")[0]][1]
        raise Misconfigured(f"{_shown(url)} needs: pip install 'everfold[{extra}]'") from error
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # `_begin_sqlite` begins them, with the writer's lock
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")  # readers do not block the writer
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _is_of_values(error: Exception) -> bool:
    """Say whether the database rejects what it was given: SQLAlchemy does not say so of asyncpg."""
    state = getattr(getattr(error, "orig", None), "sqlstate", None) or ""
    return isinstance(error, DataError) or str(state).startswith(DATA_STATES)


def _told(error: Exception) -> str:
    if isinstance(error, TimeoutError | NoTurn) and not isinstance(error, DBAPIError):
        return "it does not answer in time"
    return _first_line(error)


def _first_line(error: Exception) -> str:
    original = error.orig if isinstance(error, DBAPIError) else error
    return masked_text(str(cast("object", original)).strip().partition("\n")[0])


def _shown(url: URL) -> str:
    return masked_address(url.render_as_string())
