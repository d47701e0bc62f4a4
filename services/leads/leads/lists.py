"""Industries and regions are the customers' lists: a lead becomes a customer, and two lists of one thing would part.

A lead keeps the name that was written, in the list's spelling, and not its key: rules of assignment and scores speak of names,
and a rule may not cease to hold because a list became known. The customer that a lead becomes has the key.

What a tenant's lists are is asked of customers before a lead is written (`leads.rpc.lists`) and remembered for a minute. While it
is not known, or where customers is not installed, a text is kept as it was written; looking through leads finds it later.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

from chassis.database import Database, Transaction
from chassis.texts import same
from chassis.value_lists.kinds import OneList

LISTED = ("industry", "region")
"""The columns, which are called as their lists are."""
_KNOWN_FOR = 60.0
_UNKNOWN_FOR = 10.0


@dataclass(frozen=True)
class Known:
    """The lists of one tenant by their keys; none when customers did not tell."""

    lists: Mapping[str, OneList]
    until: float


_known: WeakKeyDictionary[Database, dict[UUID, Known]] = WeakKeyDictionary()
_MOST = 10_000


def remembered(database: Database, tenant_id: UUID) -> Mapping[str, OneList] | None:
    """The lists that were told within a minute; None when they are to be asked for."""
    known = _known.get(database, {}).get(tenant_id)
    return known.lists if known is not None and known.until > time.monotonic() else None


def remember(database: Database, tenant_id: UUID, lists: Mapping[str, OneList]) -> None:
    """Keeps what customers told, or, for a shorter time, that it did not."""
    of = _known.setdefault(database, {})
    if len(of) >= _MOST:
        of.clear()
    of[tenant_id] = Known(lists, time.monotonic() + (_KNOWN_FOR if lists else _UNKNOWN_FOR))


def by_lists(tx: Transaction, values: Mapping[str, Any], present: Any = None) -> dict[str, Any]:
    """The columns, with what means a value of a list in the list's spelling; `present` is the lead that is there, if one is.

    Raises Invalid (VALUE_UNKNOWN, VALUE_RETIRED), but not for what comes by itself: no visitor's form fails by a list.
    """
    out = dict(values)
    lists = remembered(tx.database, tx.who.tenant_id) or {}
    for name in LISTED:
        if not out.get(name) or name not in lists:
            continue
        held = getattr(present, name, "") if present is not None else ""
        if out[name] != held and tx.who.service is None:
            lists[name].key(out[name], held, f"lead.{name}")
        out[name] = spelled(lists, name, out[name])
    return out


def spelled(lists: Mapping[str, OneList], name: str, text: str) -> str:
    """The text as the list spells it, when it is a value's name or key apart from case, width and white space."""
    meant = same(text)
    for value in lists[name].values if text and name in lists else ():
        for spelling in (value.name_zh, value.name_en, value.key):
            if spelling and same(spelling) == meant:
                return spelling
    return text
