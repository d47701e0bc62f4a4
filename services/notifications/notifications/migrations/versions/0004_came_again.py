"""Who has a lead is told when it gets in touch again."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_KINDS = "('ASSIGNED', 'MENTIONED', 'DUE', 'POOL', 'CAME_AGAIN')"


def upgrade() -> None:
    op.execute(
        "-- squawk-ignore ban-drop-constraint\nALTER TABLE notifications DROP CONSTRAINT notifications_kind_check"
    )
    op.execute(
        f"ALTER TABLE notifications ADD CONSTRAINT notifications_kind_check CHECK (kind IN {_KINDS}) NOT VALID"
    )


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
