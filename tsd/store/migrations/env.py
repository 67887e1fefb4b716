"""What Alembic runs: migrations on the connection that `tsd.store.migrate` hands over, in its transaction."""

from alembic import context

from tsd.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=False,
)
context.run_migrations()
