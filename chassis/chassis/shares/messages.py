"""Shares as messages of kehu.shares.v1, out and in."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from kehu.shares.v1 import shares_pb2 as pb

from chassis.mapping import to_timestamp
from chassis.records import Entries
from chassis.shares.entries import PERSON, lasts


def put_shares(out: Any, entries: Entries, now: datetime) -> None:
    """Writes those shares that are not over into a repeated field."""
    for one in entries:
        if not lasts(one, now):
            continue
        message: pb.Share = out.add(sharer_id=one["by"])
        message.access = pb.SHARE_ACCESS_WRITE if one["writes"] else pb.SHARE_ACCESS_READ
        if one["kind"] == PERSON:
            message.person_id = one["to"]
        else:
            message.team_id = one["to"]
        to_timestamp(message.share_time, datetime.fromisoformat(one["at"]))
        if one["until"]:
            to_timestamp(message.until_time, datetime.fromisoformat(one["until"]))


def shares_told(messages: Iterable[pb.Share]) -> Entries:
    """Shares that another service has told, as `covers` takes them."""
    return [
        {
            "to": one.person_id or one.team_id, "writes": one.access == pb.SHARE_ACCESS_WRITE,
            "until": one.until_time.ToJsonString() if one.HasField("until_time") else None,
        }
        for one in messages
    ]  # fmt: skip
