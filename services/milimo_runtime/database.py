"""The application's database: engine, short transactions, migrations. SQLite in WAL mode, or PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    Column,
    Engine,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    create_engine,
    event,
    inspect,
    make_url,
    select,
)
from sqlalchemy.orm import sessionmaker

from milimo_runtime.schema import Base

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Row, Select
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.orm import Session

log = logging.getLogger(__name__)

# One transaction holds the write lock for a few milliseconds; whoever waits this long has met a fault.
_BUSY_SECONDS: Final = 30.0

# Alembic's own table, as it makes it.
_VERSION: Final = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


class Database:
    """Opens transactions. Thread-safe; calls block, so that coroutines call through `asyncio.to_thread`."""

    def __init__(self, url: str) -> None:
        """Connects lazily to the SQLAlchemy URL `url` (sqlite:/// or postgresql+psycopg://)."""
        self.url = url
        self._engine = _create_engine(url)
        self._writes = sessionmaker(
            self._engine.execution_options(milimo_begin="BEGIN IMMEDIATE"), expire_on_commit=False
        )
        # PostgreSQL's default would let the statements of one view see different states.
        reads = (
            self._engine.execution_options(isolation_level="REPEATABLE READ")
            if self._engine.dialect.name == "postgresql"
            else self._engine
        )
        self._reads = sessionmaker(reads, expire_on_commit=False)
        self._single = self._engine.execution_options(milimo_begin=None)

    @contextlib.contextmanager
    def read(self) -> Iterator[Session]:
        """A consistent view that changes nothing."""
        with self._reads() as session:
            yield session

    @contextlib.contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that is committed at the end, or rolled back when the body raises.

        On SQLite it takes the write lock at its beginning: taking it later, after a read, could fail at once with
        "database is locked", because the view has aged.
        """
        with self._writes.begin() as session:
            yield session

    async def row(self, statement: Select[Any], parameters: Mapping[str, object]) -> Row[Any] | None:
        """The row that a statement finds by a key, or None. One statement is a consistent view by itself.

        SQLite is asked on the event loop's own thread: the way to another one and back takes longer than the read, and
        readers of a file in WAL mode do not wait for its writers. PostgreSQL is asked in another thread.
        """
        if self._engine.dialect.name == "sqlite":
            return self._row(statement, parameters)
        return await asyncio.to_thread(self._row, statement, parameters)

    def _row(self, statement: Select[Any], parameters: Mapping[str, object]) -> Row[Any] | None:
        with self._single.connect() as connection:
            return connection.execute(statement, parameters).one_or_none()

    def migrate(self) -> None:
        """Brings the schema to the newest version. Processes that start together do it one after the other."""
        if self._is_current():
            return
        with self._migration_lock():
            if self._engine.dialect.name == "sqlite" and not self._tables():
                self._create()
            elif not self._is_current():
                self._upgrade()
        log.info("database migrated", extra={"action": "migrated"})

    def close(self) -> None:
        """Closes all connections."""
        self._engine.dispose()

    def _create(self) -> None:
        """Makes what the migrations lead to, in an empty file: without Alembic, whose import takes longer than this."""
        with self._engine.execution_options(milimo_begin="BEGIN IMMEDIATE").begin() as connection:
            Base.metadata.create_all(connection)
            _VERSION.create(connection)
            connection.execute(_VERSION.insert(), {"version_num": newest_version()})

    def _upgrade(self) -> None:
        # Alembic takes a quarter of a second to import, and most starts find nothing to do.
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(resources.files("milimo_runtime") / "migrations"))
        config.attributes["engine"] = self._engine
        command.upgrade(config, "head")

    def _tables(self) -> Sequence[str]:
        with self._engine.connect() as connection:
            return inspect(connection).get_table_names()

    def _is_current(self) -> bool:
        with self._engine.connect() as connection:
            if not inspect(connection).has_table(_VERSION.name):
                return False
            found = connection.execute(select(_VERSION.c.version_num)).scalar()
        return found == newest_version()

    @contextlib.contextmanager
    def _migration_lock(self) -> Iterator[None]:
        """SQLite: a lock file beside the database. PostgreSQL: migrations/env.py takes an advisory lock."""
        file = make_url(self.url).database
        if self._engine.dialect.name != "sqlite" or file in (None, "", ":memory:"):
            yield
            return
        with Path(f"{file}.migrating").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def newest_version() -> str:
    """The newest migration: their files are named by number, and the number is the version."""
    folder = resources.files("milimo_runtime") / "migrations/versions"
    return max(entry.name.split("_")[0] for entry in folder.iterdir() if entry.name[:4].isdigit())


def now() -> datetime:
    """The time as all rows carry it: UTC, with its zone."""
    return datetime.now(UTC)


def _create_engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_pre_ping=True, pool_size=8, max_overflow=24)
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, connect_args={"timeout": _BUSY_SECONDS}, pool_size=8, max_overflow=56)

    @event.listens_for(engine, "connect")
    def _configure(connection: DBAPIConnection, _record: object) -> None:
        # The driver must not open transactions by itself: `_begin` below does.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        begin = connection.get_execution_options().get("milimo_begin", "BEGIN")
        if begin is not None:
            connection.exec_driver_sql(begin)

    return engine
