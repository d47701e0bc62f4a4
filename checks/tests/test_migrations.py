"""What would lock out or rewrite is found in the SQL of a migration, written by hand or by Alembic."""

from pathlib import Path

import pytest

from chassis.migrations import rendered
from checks import migrations

_FIRST = """
from alembic import op
from chassis.schema import install_chassis_tables, protect

revision, down_revision = "0001", None


def upgrade() -> None:
    op.execute("CREATE TABLE things (tenant_id uuid NOT NULL, id uuid NOT NULL, PRIMARY KEY (tenant_id, id))")
    op.execute("CREATE INDEX things_id ON things (tenant_id, id)")
    protect("things")
    install_chassis_tables()
"""
_SECOND = """
from alembic import op

revision, down_revision = "0002", "0001"


def upgrade() -> None:
    {body}
"""


def second(folder: Path, body: str) -> list[str]:
    """What is found in a second migration with that body; nothing is wrong with the first."""
    (folder / "versions").mkdir()
    (folder / "versions" / "0001_first.py").write_text(_FIRST)
    (folder / "versions" / "0002_second.py").write_text(_SECOND.format(body=body))
    sql = rendered(folder, "kehu_things_owner")
    assert [*sql] == ["0001", "0002"]
    assert "kehu_things_relay" in sql["0001"] and [*migrations.dangers(sql["0001"])] == []
    return [*migrations.dangers(sql["0002"])]


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        (
            'op.execute("ALTER TABLE things ADD COLUMN key uuid NOT NULL DEFAULT gen_random_uuid()")',
            "adding-field-with-default",
        ),
        ('op.execute("ALTER TABLE things ADD COLUMN name text NOT NULL")', "adding-required-field"),
        (
            'op.execute("CREATE INDEX things_name ON things (tenant_id, name)")',
            "require-concurrent-index-creation",
        ),
        (
            'op.create_index("things_name", "things", ["tenant_id", "name"])',
            "require-concurrent-index-creation",
        ),
        (
            "op.execute(\"ALTER TABLE things ADD CONSTRAINT named CHECK (name <> '')\")",
            "constraint-missing-not-valid",
        ),
        ('op.execute("ALTER TABLE things ALTER COLUMN name TYPE bigint USING 1")', "changing-column-type"),
        ('op.execute("ALTER TABLE things ALTER COLUMN name SET NOT NULL")', "adding-not-nullable-field"),
        ('op.execute("ALTER TABLE things RENAME COLUMN name TO label")', "renaming-column"),
        ('op.execute("ALTER TABLE things DROP COLUMN name")', "ban-drop-column"),
        ('op.execute("DROP TABLE things")', "ban-drop-table"),
    ],
)
def test_a_dangerous_migration_is_found(tmp_path: Path, body: str, rule: str) -> None:
    found = second(tmp_path, body)
    assert any(fault.startswith(f"{rule}:") for fault in found), found


@pytest.mark.parametrize(
    "body",
    [
        "op.execute(\"ALTER TABLE things ADD COLUMN IF NOT EXISTS name text NOT NULL DEFAULT ''\")",
        "with op.get_context().autocommit_block():\n"
        '        op.execute("CREATE INDEX CONCURRENTLY IF NOT EXISTS things_name ON things (tenant_id, name)")',
        "op.execute(\"ALTER TABLE things ADD CONSTRAINT named CHECK (name <> '') NOT VALID\")",
    ],
)
def test_a_careful_migration_passes(tmp_path: Path, body: str) -> None:
    assert second(tmp_path, body) == []


def test_the_suite_has_no_fault() -> None:
    assert [*migrations.faults()] == []
