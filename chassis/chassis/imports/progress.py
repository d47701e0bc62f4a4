"""How far an import is, told to those who look on."""

from dataclasses import dataclass
from uuid import UUID

from chassis.events.event import OwnedEvent


@dataclass(frozen=True, kw_only=True)
class Progress:
    record_type: str
    state: str
    total_rows: int
    processed_rows: int
    created_rows: int
    updated_rows: int
    unchanged_rows: int
    refused_rows: int
    undone_records: int
    kept_records: int


@dataclass(frozen=True, kw_only=True)
class ImportProgressed(OwnedEvent):
    """Recorded with every batch. Its owner is whoever is at work on the import."""

    import_id: UUID
    progress: Progress
