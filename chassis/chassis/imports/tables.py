"""What an import keeps: the run with its progress, the file's rows until it has ended, and the rows it
refused or repaired.

A service adds the tables in its first migration that needs them: `chassis.imports.schema.install_import_tables()`.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, Column, DateTime, Integer, LargeBinary, Table, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import UUID as PgUuid
from sqlmodel import Field, SQLModel

from chassis.records import Record

READY, RUNNING, SUCCEEDED, CANCELLED, FAILED = "READY", "RUNNING", "SUCCEEDED", "CANCELLED", "FAILED"
UNDOING, UNDONE = "UNDOING", "UNDONE"
"""What follows an end, in a column of its own."""
ENDED = (SUCCEEDED, CANCELLED, FAILED)
CREATE, UPDATE, UPSERT = "CREATE", "UPDATE", "UPSERT"
SKIP, MERGE = "SKIP", "MERGE"
"""Policies for rows that a record seems to be already; CREATE is one, too, and "" leaves it to the mode."""


class ImportRun(Record, table=True):
    """The import of one file. `processed_rows` is the cursor: rows before it are done, wholly and once.

    At the end total = created + updated + unchanged + refused; rows repaired are counted among the first
    three.
    """

    __tablename__ = "import_runs"  # pyright: ignore[reportAssignmentType]

    kind: str
    """What the rows become: the importer's record type."""
    filename: str
    file_size: int
    file_hash: str
    state: str = READY
    encoding: str = ""
    delimiter: str = ""
    sheet: str = ""
    sheets: list[str] = Field(default_factory=list[str], sa_type=JSONB)
    columns: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]], sa_type=JSONB)
    """`{"name": …, "samples": […]}` for each column of the file."""
    proposed: list[list[Any]] = Field(default_factory=list[list[Any]], sa_type=JSONB)
    """Pairs of column and field."""
    mapping: list[list[Any]] = Field(default_factory=list[list[Any]], sa_type=JSONB)
    orders: dict[str, str] = Field(default_factory=dict[str, str], sa_type=JSONB)
    """How the short days of a field's column are meant, where the column proves it."""
    preview: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]], sa_type=JSONB)
    mode: str = ""
    records_owner_id: UUID | None = None
    """Who shall own the records of rows that name no owner."""
    records_team_id: UUID | None = None
    """That person's team."""
    currency_code: str = ""
    """The currency of amounts whose cells name none; empty for runs from before it was the company's."""
    time_zone: str = ""
    """The zone of times without an offset; empty as well for such runs."""
    started_by: UUID | None = None
    started_name: str = ""
    rights: dict[str, str] = Field(default_factory=dict[str, str], sa_type=JSONB)
    """The rights of the person who started it, as they were then."""
    team_id: UUID | None = None
    team_ids: list[str] = Field(default_factory=list[str], sa_type=JSONB)
    total_rows: int = 0
    processed_rows: int = 0
    created_rows: int = 0
    updated_rows: int = 0
    unchanged_rows: int = 0
    refused_rows: int = 0
    repaired_rows: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    failure_reason: str = ""
    failure_message: str = ""
    failures: int = 0
    """How often the batch at `failed_at` has failed for a reason that does not lie in a row."""
    failed_at: int = -1
    updates_only: bool = False
    """With UPSERT: no new records are made."""
    duplicates: str = ""
    remembered: bool = False
    """Whether the proposals are what was confirmed for the same headers before."""
    proposed_words: list[list[str]] = Field(default_factory=list[list[str]], sa_type=JSONB)
    """Triples of field, text in the file, and the value it means."""
    words: list[list[str]] = Field(default_factory=list[list[str]], sa_type=JSONB)
    unknown: list[list[Any]] = Field(default_factory=list[list[Any]], sa_type=JSONB)
    """Triples of field, text that is none of its values, and in how many rows it stands."""
    skipped_rows: int = 0
    undo_state: str = ""
    """UNDOING or UNDONE, when it has ended and is taken back."""
    undo_as: dict[str, Any] = Field(default_factory=dict[str, Any], sa_type=JSONB)
    """Who undoes it, with the rights they had when they asked for it."""
    undone_records: int = 0
    kept_records: int = 0


FILES = Table(
    "import_files",
    SQLModel.metadata,
    Column("tenant_id", PgUuid(as_uuid=True), primary_key=True),
    Column("import_id", PgUuid(as_uuid=True), primary_key=True),
    Column("packed", LargeBinary, nullable=False),
)
"""The packed rows of a file, as `chassis.imports.reading.unpack` reads them; gone when the import has
ended."""

REFUSED = Table(
    "import_refused_rows",
    SQLModel.metadata,
    Column("tenant_id", PgUuid(as_uuid=True), primary_key=True),
    Column("import_id", PgUuid(as_uuid=True), primary_key=True),
    Column("row_number", Integer, primary_key=True),
    Column("cells", JSONB, nullable=False),
    Column("problems", JSONB, nullable=False),
)
"""Rows that were refused or repaired. The key forbids that a row is noted twice."""

EFFECTS = Table(
    "import_effects",
    SQLModel.metadata,
    Column("tenant_id", PgUuid(as_uuid=True), primary_key=True),
    Column("import_id", PgUuid(as_uuid=True), primary_key=True),
    Column("record_id", PgUuid(as_uuid=True), primary_key=True),
    Column("row_number", Integer, nullable=False),
    Column("effect", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("changes", JSONB, nullable=False),
    Column("touched", Boolean, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("message", Text, nullable=False),
)
"""What an import did to which record: so that it can be undone. `changes` maps a column to `[before, after]`; `version` is the
record's when the import last changed it; `touched` says that somebody else changed it between two of the import's rows."""

MAPPINGS = Table(
    "import_mappings",
    SQLModel.metadata,
    Column("tenant_id", PgUuid(as_uuid=True), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("headers", Text, primary_key=True),
    Column("fields", JSONB, nullable=False),
    Column("words", JSONB, nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Column("updated_by", PgUuid(as_uuid=True), nullable=False),
)
"""Mappings that were confirmed, by record type and the set of headers: pairs of header and field, and words as in a run."""
