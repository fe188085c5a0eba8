"""How Alembic reaches the database: through the engine that it is given."""

from __future__ import annotations

from alembic import context

from service.store.tables import Base

with context.config.attributes["engine"].connect() as connection:
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()
