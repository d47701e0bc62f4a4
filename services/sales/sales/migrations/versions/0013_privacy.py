"""Persons can be taken out of what is held, and it is counted what became of that."""

from chassis.privacy.schema import install_privacy_tables

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    install_privacy_tables()


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
