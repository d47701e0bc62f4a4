"""Mails that could not be taken in are counted and known."""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_OUTCOMES = "('LEAD', 'TOUCH', 'REPLY', 'AUTOMATIC', 'BOUNCE', 'OWN', 'EMPTY', 'SET_ASIDE')"


def upgrade() -> None:
    op.execute("ALTER TABLE mail_captures ADD COLUMN set_aside_count integer NOT NULL DEFAULT 0")
    op.execute(
        "-- squawk-ignore ban-drop-constraint\nALTER TABLE captured_mails DROP CONSTRAINT captured_mails_outcome_check"
    )
    op.execute(
        "ALTER TABLE captured_mails ADD CONSTRAINT captured_mails_outcome_check"
        f" CHECK (outcome IN {_OUTCOMES}) NOT VALID"
    )


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
