"""The schema and its migrations, on both databases."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from importlib import resources
from typing import TYPE_CHECKING

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from milimo_runtime.database import Database, newest_version, now
from milimo_runtime.schema import Base, ProjectRow, SettingRow
from sqlalchemy import bindparam, create_engine, inspect, select, text
from sqlalchemy.exc import IntegrityError

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.orm import Session

MIGRATE = "import sys; from milimo_runtime.database import Database; Database(sys.argv[1]).migrate()"


def setting(key: str) -> SettingRow:
    return SettingRow(key=key, value={"a": [1, None, "ü"]})


def alembic_config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(resources.files("milimo_runtime") / "migrations"))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def test_an_empty_database_gets_the_newest_schema(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    database.migrate()
    database.migrate()
    engine = create_engine(empty_database_url)
    with engine.connect() as connection:
        assert set(inspect(connection).get_table_names()) == {*Base.metadata.tables, "alembic_version"}
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == newest_version()
    engine.dispose()
    database.close()


def test_the_migrations_lead_to_the_models(database_url: str) -> None:
    engine = create_engine(database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def sqlite_schema(path: Path) -> dict[str, set[str]]:
    """Lines of the statement that makes each table and index, whatever their order and quotes.

    A table that was made anew by a migration has its name in quotes.
    """
    with contextlib.closing(sqlite3.connect(path)) as connection:
        made = connection.execute("SELECT name, sql FROM sqlite_master").fetchall()
    return {
        name: {line.strip().rstrip(",") for line in (sql or "").replace('"', "").splitlines()} for name, sql in made
    }


def test_an_empty_file_gets_what_the_migrations_lead_to(tmp_path: Path) -> None:
    at_once, by_steps = tmp_path / "at_once.sqlite", tmp_path / "by_steps.sqlite"
    database = Database(f"sqlite:///{at_once}")
    database.migrate()
    database.close()
    command.upgrade(alembic_config(f"sqlite:///{by_steps}"), "head")
    assert sqlite_schema(at_once) == sqlite_schema(by_steps)
    with contextlib.closing(sqlite3.connect(by_steps)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(newest_version(),)]


async def test_a_row_is_found_by_its_key(database: Database) -> None:
    with database.write() as session:
        session.add(setting("here"))
    query = select(SettingRow.__table__).where(SettingRow.key == bindparam("key"))
    row = await database.row(query, {"key": "here"})
    assert row is not None
    assert row.value == {"a": [1, None, "ü"]}
    with database.write() as session:
        session.add(setting("later"))
        session.flush()
        # The writer holds the lock now, and is not in the reader's way.
        assert await database.row(query, {"key": "later"}) is None
    assert await database.row(query, {"key": "later"}) is not None


def test_the_way_back_leads_to_nothing(database_url: str) -> None:
    command.downgrade(alembic_config(database_url), "base")
    engine = create_engine(database_url)
    with engine.connect() as connection:
        assert inspect(connection).get_table_names() == ["alembic_version"]
    engine.dispose()
    database = Database(database_url)
    database.migrate()
    with database.write() as session:
        session.add(setting("back again"))
    database.close()


def test_processes_that_start_together_migrate_once(empty_database_url: str) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", MIGRATE, empty_database_url], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
    database = Database(empty_database_url)
    with database.write() as session:
        session.add(setting("after"))
    database.close()


def test_a_write_is_there_or_not_at_all(database: Database) -> None:
    class Stop(Exception):
        pass

    def fail(session: Session) -> None:
        session.add(setting("one"))
        session.flush()
        raise Stop

    with pytest.raises(Stop), database.write() as session:
        fail(session)
    with database.write() as session:
        session.add(setting("two"))
    with database.read() as session:
        assert [row.key for row in session.scalars(select(SettingRow))] == ["two"]
        assert session.get_one(SettingRow, "two").value == {"a": [1, None, "ü"]}


def test_a_view_does_not_change_while_it_is_read(database: Database) -> None:
    with database.read() as session:
        assert session.get(SettingRow, "new") is None
        with database.write() as other:
            other.add(setting("new"))
        session.expire_all()
        assert session.scalar(select(SettingRow)) is None
    with database.read() as session:
        assert session.get(SettingRow, "new") is not None


def test_rows_need_what_they_refer_to(database: Database) -> None:
    with pytest.raises(IntegrityError), database.write() as session:
        session.execute(
            text(
                "INSERT INTO scenes (id, project_id, index, name, script_content) VALUES ('s', 'nowhere', 0, '', '')"
                if not database.url.startswith("sqlite")
                else "INSERT INTO scenes VALUES ('s', 'nowhere', 0, '', '')"
            )
        )


def test_a_seed_of_64_bits_fits(database: Database) -> None:
    with database.write() as session:
        session.add(
            ProjectRow(
                id="p",
                name="",
                resolution_w=1,
                resolution_h=1,
                fps=1,
                seed=2**63 - 1,
                script_content="",
                created_at=now(),
                updated_at=now(),
            )
        )
    with database.read() as session:
        assert session.get_one(ProjectRow, "p").seed == 2**63 - 1
