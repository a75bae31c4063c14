"""Runs the migrations: `Database.migrate` hands over its engine, the alembic command the URL."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Engine, create_engine, text

from milimo_runtime.schema import Base

# Any number that no other user of the database takes for an advisory lock.
MIGRATION_LOCK = 0x6D696C696D6F

given: Engine | None = context.config.attributes.get("engine")
engine = given or create_engine(context.config.get_main_option("sqlalchemy.url") or "")

with engine.execution_options(milimo_begin="BEGIN IMMEDIATE").connect() as connection:
    # SQLite cannot alter most things in place: batch mode copies the table.
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        context.run_migrations()
if given is None:
    engine.dispose()
