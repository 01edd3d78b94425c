"""Alembic's entry: runs the revisions on the connection that `Database.migrate` hands over, in its transaction."""

from alembic import context

from gateway.ledger.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
