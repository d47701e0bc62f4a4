"""Orders may earn points when they are paid."""

from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE membership_programmes ADD COLUMN IF NOT EXISTS moment_since timestamptz")
    op.execute(
        "-- squawk-ignore ban-drop-constraint\nALTER TABLE membership_programmes"
        " DROP CONSTRAINT membership_programmes_earn_moment_check"
    )
    op.execute(
        "ALTER TABLE membership_programmes ADD CONSTRAINT membership_programmes_earn_moment_check"
        " CHECK (earn_moment IN ('AFTER_DELIVERY', 'AT_PLACING', 'AT_PAYMENT')) NOT VALID"
    )


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
