"""What erasing persons needs in a service's database; called from its migrations."""

from alembic import op

from chassis.schema import owner_role, protect


def install_privacy_tables() -> None:
    """The counts of erasures, and leave to take persons out of what is else only added to.

    History stays what it is but for the values of a person who is erased: neither who nor when nor which field can be written.
    """
    op.execute(
        """CREATE TABLE erased_records (
        tenant_id uuid NOT NULL,
        erasure_id uuid NOT NULL,
        record_type text NOT NULL,
        kept_for text NOT NULL,
        erased integer NOT NULL,
        kept integer NOT NULL,
        PRIMARY KEY (tenant_id, erasure_id, record_type, kept_for)
    )"""
    )
    protect("erased_records", app="SELECT, INSERT, UPDATE")
    allow_erasure("history", "changes")
    allow_erasure("outbox", "data")


def allow_erasure(table: str, *columns: str) -> None:
    """Lets the service write these columns of a table that it may else only add to."""
    if not all(name.isidentifier() for name in (table, *columns)):
        raise ValueError(f"{table!r} or one of {columns!r} is no name")
    app = owner_role().removesuffix("_owner")
    # Composed of names from a migration, checked above.
    op.execute(f"GRANT UPDATE ({', '.join(columns)}) ON {table} TO {app}")
