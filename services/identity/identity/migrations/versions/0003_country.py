"""A tenant has a country, by whose rules telephone numbers without a country code are read."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE tenants ADD COLUMN country_code text NOT NULL DEFAULT 'CN'")
    op.execute("GRANT SELECT (country_code) ON tenants TO kehu_identity_relay")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
