"""What a service declares: which of its records can be edited in bulk, by which use cases; and what an edit does to one record.

A record is changed as its own Update method changes it: the values are read into that method's request and checked by its
contract, its mapping makes columns of them, and its use case changes the record.
"""

import copy
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from chassis.bulk_edits.edit import BulkEditProgressed, Wanted
from chassis.custom_fields.given import COLUMN as CUSTOM
from chassis.custom_fields.given import PREFIX
from chassis.custom_fields.switch import CustomFields
from chassis.database import Transaction
from chassis.effects import differing, former, now
from chassis.errors import Invalid, Precondition, Violation
from chassis.listing import Listing
from chassis.owners import Owner
from chassis.principal import NOBODY
from chassis.records import Record
from chassis.rpc.call import Call
from chassis.rpc.face import messages_of
from chassis.validation import check
from chassis.validation.rules import DEFAULT_MAX_ITEMS, rules_of
from chassis.wire import camel, descriptor_of, from_dict, snake


class ChangedSince(Precondition):
    """A record is no longer as an edit has left it."""

    reason = "CHANGED_SINCE"


Change = Callable[[Transaction, Any, dict[str, Any]], Awaitable[None]]
Assign = Callable[[Transaction, Any, Owner], Awaitable[None]]
Release = Callable[[Transaction, Any], Awaitable[None]]
_OWNER = ("owner_id", "team_id")


@dataclass(frozen=True, slots=True)
class Deed:
    """The use cases of an action: `do(tx, record, reason, note)`, and `back(tx, record, changes)`, which takes it back. A record
    that went to the trash comes back by its id; what brings it back sees, behind a lock, whether it went there by the edit, and
    raises ChangedSince if not."""

    do: Callable[[Transaction, Any, str, str], Awaitable[None]]
    back: Callable[[Transaction, Any, Mapping[str, Sequence[Any]]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Work:
    """The use cases by which records are changed, given to others and given to nobody within one transaction, and those of the
    editor's actions, by their names."""

    change: Change
    assign: Assign | None = None
    release: Release | None = None
    deeds: Mapping[str, Deed] = field(default_factory=dict[str, Deed])


Begin = Callable[[Transaction], Awaitable[Work]]
"""What a use case needs once a transaction, before records are locked."""


def at_once(
    change: Change,
    assign: Assign | None = None,
    release: Release | None = None,
    deeds: Mapping[str, Deed] | None = None,
) -> Begin:
    """For use cases that need nothing before."""
    work = Work(change, assign, release, deeds or {})

    async def begin(tx: Transaction) -> Work:
        return work

    return begin


@dataclass(frozen=True)
class Action:
    """What can be done to many records beside changing fields of them, as a method of that name does it to one."""

    check: Callable[[str, str], None] | None = None
    """Raises Invalid naming change.reason or change.note; None takes neither."""
    left: tuple[str, ...] = ()
    """The columns that say whether a record still is as the action has left it, also those that it does not change."""
    noted: tuple[str, ...] = ()
    """Columns that it changes and of which histories say nothing: they go back, too."""
    trashes: bool = False
    """Whether the record is in the trash by it, from where it comes back."""


DELETE = Action(trashes=True)


@dataclass(frozen=True)
class Editor:
    """Records of one kind. `method` is their Update method, `values` makes columns of its record and mask.

    `closed` are fields that no two records share, or that other things hang on: they are changed one by one. `derived` are
    columns that the use cases keep by themselves, which an undoing leaves to them. `back` turns former columns into what
    `change` takes, where that is something else. Raises ValueError for a method that is no Update.
    """

    listing: Listing
    table: type[Record]
    method: str
    values: Callable[[Any, FieldMask], dict[str, Any]]
    begin: Begin
    assigns: bool = False
    """Whether the records can be given to others."""
    actions: Mapping[str, Action] = field(default_factory=dict[str, Action])
    """By their names; `begin` has the use cases."""
    closed: frozenset[str] = frozenset()
    derived: frozenset[str] = frozenset()
    back: Callable[[Any, Mapping[str, Any]], dict[str, Any]] = field(
        default=lambda record, values: dict(values)
    )
    custom_fields: CustomFields | None = None
    progressed: type[BulkEditProgressed] | None = None
    learn: Callable[[Call], Awaitable[None]] | None = None
    """Sees to it that what another service keeps, and the use cases go by, is known for a while; asked before each batch."""

    def __post_init__(self) -> None:
        request, answer = messages_of(self.method)
        resource = descriptor_of(request).fields[0]
        updated = resource.message_type
        if (
            updated is None
            or updated.full_name != descriptor_of(answer).full_name
            or self.listing.right is None
        ):
            raise ValueError(f"{self.method} is no method that updates a record that has a right")

    @property
    def right(self) -> str:
        """The right under which the records stand."""
        return str(self.listing.right)

    @property
    def record_type(self) -> str:
        """What the records are."""
        return self.listing.record_type


@dataclass(frozen=True)
class Plan:
    """What becomes of each record, ready to be done."""

    request: Message
    """The request that the record's Update method would have, but for the record."""
    columns: Mapping[str, Any]
    add_tags: Sequence[str]
    remove_tags: Sequence[str]
    most_tags: int
    owner: Owner | None
    action: Action | None = None
    name: str = ""
    reason: str = ""
    note: str = ""

    @property
    def trashes(self) -> bool:
        """Whether the records go to the trash."""
        return self.action is not None and self.action.trashes

    def disposes(self, record: Any) -> bool:
        """Whether the record gets another owner, or goes: neither is done by a share."""
        return self.trashes or (self.owner is not None and record.owner_id != self.owner.person_id)

    def values_for(self, record: Any) -> dict[str, Any]:
        """What the use case is to set. Raises Invalid for more tags than a record may have."""
        values = copy.deepcopy(dict(self.columns))
        if self.add_tags or self.remove_tags:
            left = [tag for tag in record.tags if tag not in self.remove_tags]
            values["tags"] = left + [tag for tag in self.add_tags if tag not in left]
            if len(values["tags"]) > max(self.most_tags, len(record.tags)):
                raise Invalid("tags", f"would be more than {self.most_tags}")
        return values


def planned(editor: Editor, wanted: Wanted) -> Plan:
    """The edit as the record's Update method would read it. Raises Invalid naming what is wrong, as `change.values.region`."""
    kind, _ = messages_of(editor.method)
    if wanted.action or wanted.reason or wanted.note:
        return _done(editor, wanted, kind())
    resource = descriptor_of(kind).fields[0]
    assert resource.message_type is not None
    paths = _paths(wanted)
    tags = resource.message_type.fields_by_name.get("tags")
    tagging = bool(wanted.add_tags or wanted.remove_tags)
    if not (paths or tagging or wanted.owner):
        raise Invalid("change", "changes nothing: give values, tags, an owner or an action")
    for path in paths:
        if path.split(".")[0] in editor.closed:
            raise Invalid(
                "change.fields", f"'{camel(path)}' cannot be changed in bulk", reason="FIELD_NOT_WRITABLE"
            )
    if wanted.owner is not None and not editor.assigns:
        raise Invalid(
            "change.ownerId", "these records have no owner of their own", reason="FIELD_NOT_WRITABLE"
        )
    if tagging and tags is None:
        raise Invalid("change.addTags", "these records have no tags", reason="FIELD_NOT_WRITABLE")
    if tagging and "tags" in paths:
        raise Invalid("change.addTags", "tags are either set as a whole, or added and removed")
    both = sorted(set(wanted.add_tags) & set(wanted.remove_tags))
    if both:
        raise Invalid("change.removeTags", f"'{both[0][:50]}' is added as well")
    request = _request(kind, resource, wanted.given, paths)
    _check(request, resource.json_name)
    if tagging:
        _check(_request(kind, resource, {"tags": list(wanted.add_tags)}, ["tags"]), resource.json_name)
    columns = editor.values(getattr(request, resource.name), FieldMask(paths=paths)) if paths else {}
    most = rules_of(tags).max_items if tags is not None else 0
    return Plan(
        request, columns, wanted.add_tags, wanted.remove_tags, most or DEFAULT_MAX_ITEMS, wanted.owner
    )


def _done(editor: Editor, wanted: Wanted, request: Message) -> Plan:
    action = editor.actions.get(wanted.action)
    if action is None:
        known = ", ".join(editor.actions) or "none"
        raise Invalid(
            "change.action", f"these records know no '{wanted.action}'; there are: {known}", reason="ACTION_UNKNOWN"
        )  # fmt: skip
    if wanted.given or wanted.fields or wanted.add_tags or wanted.remove_tags or wanted.owner:
        raise Invalid("change.action", "goes alone, without values, tags and owner")
    if action.check is not None:
        action.check(wanted.reason, wanted.note)
    elif wanted.reason or wanted.note:
        raise Invalid("change.reason", f"'{wanted.action}' takes neither reason nor note")
    return Plan(request, {}, (), (), 0, None, action, wanted.action, wanted.reason, wanted.note)


def _paths(wanted: Wanted) -> list[str]:
    """The update mask: what is named, or what has a value."""
    if wanted.fields:
        return [_path(name) for name in wanted.fields]
    paths: list[str] = []
    for name, value in wanted.given.items():
        if snake(name) == CUSTOM and isinstance(value, dict):
            paths += [f"{CUSTOM}.{key}" for key in cast("dict[str, Any]", value)]
        else:
            paths.append(snake(name))
    return paths


def _path(name: str) -> str:
    if name.startswith(PREFIX):
        return f"{CUSTOM}.{name.removeprefix(PREFIX)}"
    return ".".join(snake(part) for part in name.split("."))


def _request(kind: type[Any], resource: Any, given: Mapping[str, Any], paths: Sequence[str]) -> Any:
    request = kind(update_mask=FieldMask(paths=paths))
    try:
        record: Message = from_dict(GetMessageClass(resource.message_type), dict(given))
    except Invalid as problem:
        raise _renamed(
            problem, lambda field: "change.values" + (f".{field}" if field != "body" else "")
        ) from None
    getattr(request, resource.name).CopyFrom(record)
    getattr(request, resource.name).id = str(NOBODY)
    return request


def _check(request: Message, resource: str) -> None:
    def renamed(name: str) -> str:
        return "change.fields" if name == "updateMask" else "change.values" + name.removeprefix(resource)

    try:
        check(request)
    except Invalid as problem:
        raise _renamed(problem, renamed) from None


def _renamed(problem: Invalid, name: Callable[[str], str]) -> Invalid:
    refused = Invalid.of([Violation(name(one.field), one.description) for one in problem.violations])
    refused.reason = problem.reason
    return refused


async def edit_one(work: Work, tx: Transaction, record: Any, plan: Plan) -> None:
    """Changes one record, which is locked, or does to it what is wanted. Raises what its use cases raise."""
    if plan.action is not None:
        await work.deeds[plan.name].do(tx, record, plan.reason, plan.note)
        return
    values = plan.values_for(record)
    if values:
        await work.change(tx, record, values)
    if plan.owner is not None and work.assign is not None:
        await work.assign(tx, record, plan.owner)


def goes_back(record: Any, changes: Mapping[str, Sequence[Any]], plan: Plan) -> bool:
    """Whether undoing the edit gives the record to its former owner: nobody else has given it to anybody since."""
    return (
        plan.owner is not None and "owner_id" in changes and now(record, "owner_id") == changes["owner_id"][1]
    )


async def put_back(
    editor: Editor,
    work: Work,
    tx: Transaction,
    record: Any,
    changes: Mapping[str, Sequence[Any]],
    plan: Plan,
    owner: Owner | None,
) -> list[str]:
    """Gives a record, which is locked, back what an edit has changed; what is no longer as the edit left it stays, and is named.

    `owner` is its former owner, in the team of today; None is nobody. Tags that the edit added go and those that it took come
    back, whatever else became of tags. Raises what the use cases raise.
    """
    own = {name: pair for name, pair in changes.items() if name not in (*_OWNER, *editor.derived)}
    moved = "owner_id" in changes and plan.owner is not None
    tags: dict[str, Any] = {}
    if "tags" in own and (plan.add_tags or plan.remove_tags):
        before, after = own.pop("tags")
        tags["tags"] = _tags_back(record.tags, before, after)
    changed = differing(record, own)
    if moved and not goes_back(record, changes, plan):
        changed.append("owner_id")
    values = former(editor.table, {name: pair for name, pair in own.items() if name not in changed}) | tags
    if values:
        await work.change(tx, record, editor.back(record, values))
    if moved and "owner_id" not in changed and not await _owner_back(work, tx, record, owner):
        changed.append("owner_id")
    return changed


async def _owner_back(work: Work, tx: Transaction, record: Any, owner: Owner | None) -> bool:
    """Gives a record back to its former owner, or to nobody where there is a pool. Whether there is a use case for that."""
    if owner is None and work.release is not None:
        await work.release(tx, record)
    elif owner is not None and work.assign is not None:
        await work.assign(tx, record, owner)
    else:
        return False
    return True


def _tags_back(present: Sequence[str], before: Sequence[str], after: Sequence[str]) -> list[str]:
    added, removed = set(after) - set(before), [tag for tag in before if tag not in after]
    left = [tag for tag in present if tag not in added]
    return left + [tag for tag in removed if tag not in left]
