"""Records in short, as pairs show them."""

from typing import Any

from kehu.duplicates.v1 import duplicates_pb2 as pb

from chassis.mapping import to_timestamp
from chassis.records import etag


def card(row: Any, name: str, *, detail: str = "", phone: str = "", email: str = "") -> pb.DuplicateRecord:
    """A record in short: a row of the read path that somebody owns, and what it is called and reached by."""
    message = pb.DuplicateRecord(
        id=str(row["id"]), display_name=name, detail=detail, phone=phone, email=email,
        owner_id=str(row["owner_id"] or ""), etag=etag(row["version"]),
    )  # fmt: skip
    to_timestamp(message.create_time, row["created_at"])
    to_timestamp(message.update_time, row["updated_at"])
    return message
