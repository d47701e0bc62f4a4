"""What was sent through a form is added where the event of its lead was heard before the call had ended."""

from alembic import op

from chassis.schema import owner_role

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    app = owner_role().removesuffix("_owner")
    # Composed of the name of a role.
    op.execute(f"GRANT UPDATE (digest) ON form_submissions TO {app}")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
