"""Leads that were kept twice go into one, and come out of it again; leads that are a customer already are attached to it.

Those that went stay as leads, disqualified as duplicates, and name where they went: so reports count them for what they were,
and nobody who knows one of them is led nowhere. What stood with them, captures, reported steps, notes and files, stands with the
survivor.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from chassis.custom_fields.references import led_on
from chassis.database import Transaction
from chassis.duplicates.pair import pairs_merged, pairs_unmerged
from chassis.errors import Invalid
from chassis.following import Target, moved_custom
from chassis.ids import new_id
from chassis.kept import Before, Kept, forget_in_later, put_back
from chassis.mapping import change
from chassis.merge_preview import papers_in
from chassis.papers import move_papers, papers_back
from chassis.principal import Act
from chassis.records import Owned
from chassis.visibility import covers
from leads import errors
from leads.assignment import watch_acceptance
from leads.handling import Handling
from leads.lead import ORIGIN, Lead, remind
from leads.lead_events import (
    LeadDisqualified,
    LeadMerged,
    LeadReopened,
    LeadUnmerged,
    LeadUpdated,
    tell,
    told,
)
from leads.merged import CONTACTS, CUSTOMERS, LEADS
from leads.words import CONTACTED, CONVERTED, CONVERTING, DUPLICATE, NEW, OPEN

MERGED, UNDONE = "MERGED", "UNDONE"
STATES = (MERGED, UNDONE)
UNDO_WITHIN = timedelta(days=30)
_MOST_TAGS, _LONGEST_NOTES = 50, 10_000
_CUSTOM = "customFields."
FIELDS: Mapping[str, tuple[str, ...]] = {
    "name": ("name",), "companyName": ("company_name",), "title": ("title",), "department": ("department",),
    "phone": ("phone",), "email": ("email",), "imAccount": ("im_account",), "website": ("website",), "industry": ("industry",),
    "region": ("region",), "address": ("address",), "estimatedAmount": ("estimated_amount", "estimated_amount_currency"),
    "externalKey": ("external_key",),
}  # fmt: skip
"""The fields whose value can be chosen, with their columns."""
SHOWN = (*FIELDS, "tags", "notes")
"""Those of which a preview tells what becomes of them; custom fields are told as well."""
_MOVED = ("lead_captures", "lead_touches")
"""Tables whose rows go along."""
Choices = Mapping[str, UUID]


class LeadMerge(Owned, table=True):
    """A merge. Owner and team are those of the survivor when it was made."""

    __tablename__ = "lead_merges"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "lead_merge"
    history_hidden: ClassVar[frozenset[str]] = frozenset({"kept"})

    survivor_id: UUID
    merged_ids: list[UUID] = Field(sa_type=ARRAY(Uuid))  # pyright: ignore[reportArgumentType]
    state: str = MERGED
    undo_end_time: datetime
    undo_time: datetime | None = None
    kept: Kept = Field(default_factory=dict, sa_type=JSONB)


def joined(rows: Sequence[Any], choices: Choices) -> dict[str, Any]:
    """Column → value of the survivor, which is the first of the rows: plain values in, plain values out.

    Its own value stays where it is not empty, else the first of the others' that is not is taken; a choice names whose is taken
    instead, empty or not. Where somebody first came from is what the oldest lead says that says anything.
    """
    values: dict[str, Any] = {}
    for name, columns in FIELDS.items():
        one = _chosen(rows, choices.get(name), attrgetter(columns[0]))
        values |= {column: getattr(one, column) for column in columns}
    oldest = sorted(rows, key=lambda row: (row.created_at, row.id))
    first = next((row for row in oldest if any(getattr(row, name) for name in ORIGIN[2:])), oldest[0])
    values |= {name: getattr(first, name) for name in ORIGIN}
    values["tags"] = list(dict.fromkeys(tag for row in rows for tag in row.tags))[:_MOST_TAGS]
    # The survivor's own stand first and are whole; the others' stand with them still.
    values["notes"] = "\n".join(dict.fromkeys(row.notes for row in rows if row.notes))[:_LONGEST_NOTES]
    values["custom_fields"] = _custom(rows, choices)
    values["first_contact_time"] = min(_times(rows, "first_contact_time"), default=None)
    values["last_contact_time"] = max(_times(rows, "last_contact_time"), default=None)
    values["contact_count"] = sum(row.contact_count for row in rows)
    values["status"] = max((row.status for row in rows), key=OPEN.index)
    values["qualify_time"] = min(_times(rows, "qualify_time"), default=None)
    values["capture_count"] = sum(row.capture_count for row in rows)
    last = max(
        (row for row in rows if row.last_capture_time), key=attrgetter("last_capture_time"), default=None
    )
    if last is not None:
        values |= {
            name: getattr(last, name) for name in ("last_capture_time", "last_source", "last_campaign_id")
        }
    return values


def _times(rows: Sequence[Any], name: str) -> list[datetime]:
    return [at for row in rows if (at := getattr(row, name)) is not None]


def _custom(rows: Sequence[Any], choices: Choices) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key in dict.fromkeys(key for row in rows for key in row.custom_fields):

        def read(row: Any, key: str = key) -> Any:
            return row.custom_fields.get(key)

        value = read(_chosen(rows, choices.get(f"{_CUSTOM}{key}"), read))
        if value is not None:
            out[key] = value
    return out


def _chosen(rows: Sequence[Any], choice: UUID | None, read: Callable[[Any], Any]) -> Any:
    if choice is not None:
        return next(row for row in rows if row.id == choice)
    return next((row for row in rows if read(row) not in (None, "", 0, [], {})), rows[0])


def _check_choices(choices: Choices, rows: Sequence[Lead]) -> None:
    custom = {f"{_CUSTOM}{key}" for row in rows for key in row.custom_fields}
    for name, id in choices.items():
        if name not in FIELDS and name not in custom:
            raise Invalid(
                f"fieldChoices.{name[:60]}", "is no field that can be chosen", reason="FIELD_NOT_WRITABLE"
            )
        if id not in {row.id for row in rows}:
            raise Invalid(f"fieldChoices.{name}", f"{id} is none of the leads that are merged")


_STAND = {
    table: text(f"SELECT id, lead_id FROM {table} WHERE lead_id = ANY(:ids) FOR UPDATE").bindparams(  # noqa: S608 (tables of ours)
        bindparam("ids", type_=ARRAY(Uuid))
    )
    for table in _MOVED
}
_MOVE = {
    table: text(f"UPDATE {table} SET lead_id = :to WHERE lead_id = ANY(:ids)").bindparams(  # noqa: S608 (tables of ours)
        bindparam("ids", type_=ARRAY(Uuid))
    )
    for table in _MOVED
}
_MOVE_BACK = {
    table: text(f"UPDATE {table} SET lead_id = :to WHERE id = :id AND lead_id = :held")  # noqa: S608 (tables of ours)
    for table in _MOVED
}


async def merge_leads(
    tx: Transaction,
    handling: Handling,
    survivor_id: UUID,
    merged_ids: Sequence[UUID],
    choices: Choices,
    etag: str,
) -> LeadMerge:
    """Merges open leads that the caller may change. Nothing is changed before everything is checked.

    Raises NotFound, Denied, EtagMismatch, Invalid, LeadNotMergeable, LeadConverting.
    """
    found = {id: await tx.get(Lead, id, right="leads") for id in sorted({survivor_id, *merged_ids})}
    if survivor_id in merged_ids:
        raise Invalid("mergedIds", "names the survivor itself", reason="MERGE_WITH_ITSELF")
    survivor, losers = found[survivor_id], [found[id] for id in merged_ids]
    rows = [survivor, *losers]
    tx.check_etag(survivor, etag)
    for row in rows:
        row.check_open(errors.LeadNotMergeable, "merged")
    _check_choices(choices, rows)
    before = Before()
    before.note(rows)
    values = joined(rows, choices)
    for loser in losers:
        loser.disqualify(tx.now, DUPLICATE, "")
        loser.duplicate_of_lead_id = survivor.id
        if loser.external_key == values["external_key"]:
            loser.external_key = ""  # it is held once, and the survivor takes it
        tell(tx, loser, handling, LeadDisqualified)
    await tx.session.flush()
    changed = change(survivor, values)
    survivor.touch(tx.now)
    survivor.findable()
    merge = LeadMerge(
        id=new_id(), survivor_id=survivor.id, merged_ids=list(merged_ids), undo_end_time=tx.now + UNDO_WITHIN,
        owner_id=survivor.owner_id, team_id=survivor.team_id,
    )  # fmt: skip
    if changed:
        tell(tx, survivor, handling, LeadUpdated, changed_fields=changed)
    tell(tx, survivor, handling, LeadMerged, merge_id=merge.id, merged_lead_ids=list(merged_ids))
    papers = await move_papers(tx, Lead.record_type, merged_ids, survivor.id)
    merge.kept = {**before.kept(), **await _move(tx, survivor.id, merged_ids), "papers": papers}
    tx.add(merge)
    await LEADS.merged(tx, merge.id, Target(survivor.id, None), merged_ids)
    await pairs_merged(tx, Lead.record_type, merge.id, survivor.id, merged_ids)
    return merge


async def brought_along(tx: Transaction, merge: LeadMerge) -> dict[str, int]:
    """How many records there are of each kind that a merge has taken to the survivor or changed for it."""
    captures, touches = (len(merge.kept.get(table, {})) for table in _MOVED)
    moved = {"capture": captures, "touch": touches}
    return {**moved, **papers_in(merge.kept), "reference": await moved_custom(tx, merge.id)}


async def _move(tx: Transaction, to: UUID, ids: Iterable[UUID]) -> Kept:
    """Lets what stands with those leads stand with that one."""
    kept: Kept = {}
    asked = {"ids": list(ids)}
    for table in _MOVED:
        for row in (await tx.session.execute(_STAND[table], asked)).all():
            kept.setdefault(table, {})[str(row.id)] = {"lead_id": [str(row.lead_id), str(to)]}
        await tx.session.execute(_MOVE[table], {**asked, "to": to})
    return kept


def may_undo(merge: LeadMerge, survivor: Lead | None, tx: Transaction) -> bool:
    """Whether the caller may change the survivor, or could when it was merged, if it is gone."""
    return covers(survivor or merge, tx.who, "leads", Act.WRITE)


async def undo(tx: Transaction, handling: Handling, merge: LeadMerge) -> None:
    """Undoes a merge; its row is locked. Raises MergeUndone, MergeTooOld, MergeSurvivorGone, AlreadyExists."""
    if merge.state != MERGED:
        raise errors.MergeUndone
    if merge.undo_end_time < tx.now:
        raise errors.MergeTooOld
    survivor = await tx.find(Lead, merge.survivor_id)
    if survivor is None or survivor.status in (CONVERTED, CONVERTING) or survivor.duplicate_of_lead_id:
        raise errors.MergeSurvivorGone
    gone = [Target(UUID(str(id)), None) for id in merge.merged_ids]
    first = sorted(map(UUID, merge.kept.get("lead", {})))
    await LEADS.unmerged(tx, merge.id, Target(survivor.id, None), gone, first=first)
    before, referred = await led_on(tx, merge.kept, [Lead])
    rows = before.get("lead", {})
    # What may be held once is given up by the survivor before the others take it.
    kept = rows.get(str(survivor.id), {})
    changed = put_back(survivor, kept)
    if "contact_count" in kept and survivor.contact_count > kept["contact_count"][0]:
        _stay_contacted(survivor)
    survivor.touch(tx.now)
    survivor.findable()
    await tx.session.flush()
    restored: list[Lead] = []
    for id in sorted(merge.merged_ids):
        loser = await tx.find(Lead, UUID(str(id)))
        if loser is None or loser.duplicate_of_lead_id != survivor.id:
            continue
        put_back(loser, rows.get(str(loser.id), {}))
        loser.findable()
        # What was to happen with it in the meantime did not.
        loser.touch(tx.now)
        await watch_acceptance(tx, loser)
        await remind(tx, loser)
        tell(tx, loser, handling, LeadReopened)
        restored.append(loser)
    if changed:
        tell(tx, survivor, handling, LeadUpdated, changed_fields=changed)
    there = {str(one.id) for one in restored}
    for table in _MOVED:
        for id, columns in merge.kept.get(table, {}).items():
            former, held = columns["lead_id"]
            if former in there:
                back = {"to": UUID(former), "id": UUID(id), "held": UUID(held)}
                await tx.session.execute(_MOVE_BACK[table], back)
    await forget_in_later(tx, merge, [Lead])
    papers = {
        table: {former: ids for former, ids in moved.items() if former in there}
        for table, moved in merge.kept.get("papers", {}).items()
    }
    await papers_back(tx, Lead.record_type, papers, survivor.id)
    for following in (LEADS, CUSTOMERS, CONTACTS):
        await following.follow(tx, sorted(referred))
    ids = [one.id for one in restored]
    tx.record(LeadUnmerged(**told(survivor), merge_id=merge.id, restored_lead_ids=ids), on=survivor)
    merge.state, merge.undo_time = UNDONE, tx.now
    await pairs_unmerged(tx, merge.id)


def _stay_contacted(lead: Lead) -> None:
    """Somebody has spoken with it since the merge, though what says when it was first done came from the others."""
    lead.first_contact_time = lead.first_contact_time or lead.last_contact_time
    if lead.status == NEW:
        lead.status = CONTACTED


def attach(
    tx: Transaction, lead: Lead, handling: Handling, customer_id: UUID, contact_id: UUID | None
) -> None:
    """The lead is that customer already, or that contact of it. Raises LeadNotDisqualifiable, LeadConverting."""
    lead.check_open(errors.LeadNotDisqualifiable, "attached")
    lead.disqualify(tx.now, DUPLICATE, "")
    lead.duplicate_of_customer_id, lead.duplicate_of_contact_id = customer_id, contact_id
    tell(tx, lead, handling, LeadDisqualified)
