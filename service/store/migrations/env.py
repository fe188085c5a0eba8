"""How Alembic reaches the database: through the engine that it is given."""

from __future__ import annotations

from alembic import context

from service.store.tables import Base

with context.config.attributes["engine"].begin() as connection:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # All or nothing, and one process at a time.
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()
