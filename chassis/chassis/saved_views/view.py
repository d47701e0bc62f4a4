"""Saved views as rows: whose they are, who sees them, and with which a person's list begins.

A view belongs to a person, and not to those who may read the person's records: nobody's reach opens what its owner has not
shared.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import ARRAY, Text, text
from sqlmodel import Field

from chassis.database import Transaction
from chassis.errors import AlreadyExists, Denied, Invalid, Precondition
from chassis.events.event import OwnedEvent
from chassis.mapping import change
from chassis.principal import Act, Principal, Reach
from chassis.records import Record

NOBODY, TEAM, EVERYONE = "NOBODY", "TEAM", "EVERYONE"
MOST = 100
"""Views of one person for one record type."""


class SavedView(Record, table=True):
    """A view."""

    __tablename__ = "saved_views"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "saved_view"

    owner_id: UUID
    of_type: str
    display_name: str
    filter: str = ""
    columns: list[str] = Field(default_factory=list[str], sa_type=ARRAY(Text))  # pyright: ignore[reportArgumentType]
    order_by: str = ""
    sharing: str = NOBODY
    shared_team_id: UUID | None = None
    position: int = 0


@dataclass(frozen=True, kw_only=True)
class SavedViewCard:
    record_type: str
    display_name: str
    sharing: str
    shared_team_id: UUID | None


@dataclass(frozen=True, kw_only=True)
class SavedViewEvent(OwnedEvent):
    """What every event says of a view."""

    saved_view_id: UUID
    saved_view: SavedViewCard


class SavedViewCreated(SavedViewEvent):
    pass


@dataclass(frozen=True, kw_only=True)
class SavedViewUpdated(SavedViewEvent):
    changed_fields: list[str]


class SavedViewDeleted(SavedViewEvent):
    pass


class TooManySavedViews(Precondition):
    """A person has as many as one may."""

    reason = "TOO_MANY_SAVED_VIEWS"

    def __init__(self) -> None:
        super().__init__(f"You have {MOST} views of these records: delete one that you no longer need.")


def name_taken() -> AlreadyExists:
    """What the constraint `saved_views_name` means."""
    return AlreadyExists(
        "SAVED_VIEW_NAME_TAKEN",
        "you have a view of that name already: choose another",
        field="savedView.displayName",
    )


def told(view: SavedView) -> dict[str, Any]:
    """What every event says of a view. Those who read all records hear of it, too: what is nobody else's has no name there."""
    return {
        "saved_view_id": view.id, "owner_id": view.owner_id, "team_id": None,
        "saved_view": SavedViewCard(
            record_type=view.of_type, display_name="" if view.sharing == NOBODY else view.display_name,
            sharing=view.sharing, shared_team_id=view.shared_team_id,
        ),
    }  # fmt: skip


def teams_of(who: Principal) -> set[UUID]:
    """The teams whose views a person sees: their own and those below it."""
    return {*who.team_ids, *((who.team_id,) if who.team_id else ())}


def sees(who: Principal, right: str, view: Any) -> bool:
    """Whether that person sees a view of records under that right. `view` is a row object or a row of the read path."""
    read = view.__getitem__ if hasattr(view, "keys") else view.__getattribute__
    if who.reach(right, Act.READ) is Reach.NONE:
        return False
    if read("owner_id") == who.person_id or read("sharing") == EVERYONE:
        return True
    # Whoever may change shared views finds those of all teams: the owner may have left.
    return read("sharing") == TEAM and (
        read("shared_team_id") in teams_of(who) or who.reach(right, Act.WRITE) is Reach.ALL
    )


def may_change(who: Principal, right: str, view: Any) -> bool:
    """Whether somebody who sees a view may change it."""
    read = view.__getitem__ if hasattr(view, "keys") else view.__getattribute__
    return read("owner_id") == who.person_id or who.reach(right, Act.WRITE) is Reach.ALL


_COUNT = text(
    "SELECT count(*) FROM saved_views WHERE owner_id = :person AND of_type = :of_type AND deleted_at IS NULL"
)


async def save_view(tx: Transaction, right: str, values: Mapping[str, Any]) -> SavedView:
    """A new view of the caller's, whose filter, order and columns have been checked before.

    Raises TooManySavedViews, Denied (SHARING_OUT_OF_REACH), Invalid (TEAM_NOT_FOUND).
    """
    sharing, team = _shared(tx.who, right, values.get("sharing", ""), values.get("shared_team_id"))
    await tx.hold(f"saved views {tx.who.person_id}")
    there = await tx.session.execute(_COUNT, {"person": tx.who.person_id, "of_type": values["of_type"]})
    if there.scalar_one() >= MOST:
        raise TooManySavedViews
    columns: dict[str, Any] = {
        **_tidy(values),
        "sharing": sharing,
        "shared_team_id": team,
        "owner_id": tx.who.person_id,
    }
    view = SavedView(**columns)
    tx.add(view)
    tx.record(SavedViewCreated(**told(view)), on=view)
    return view


async def change_view(tx: Transaction, right: str, view: SavedView, values: Mapping[str, Any]) -> None:
    """Changes a view that is locked, and that the caller may change. Raises as `save_view` does."""
    tidy = _tidy(values)
    if "sharing" in tidy or "shared_team_id" in tidy:
        wanted = tidy.get("sharing", view.sharing) or NOBODY
        team = tidy.get("shared_team_id", view.shared_team_id if wanted == TEAM else None)
        # What stays as it is asks for no reach: whoever corrects a shared view need not share it anew.
        if (wanted, team) != (view.sharing, view.shared_team_id):
            wanted, team = _shared(tx.who, right, wanted, team)
        tidy["sharing"], tidy["shared_team_id"] = wanted, team
    changed = change(view, tidy)
    if changed:
        tx.record(SavedViewUpdated(**told(view), changed_fields=changed), on=view)


def _tidy(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.strip() if isinstance(value, str) else value for name, value in values.items()}


def _shared(who: Principal, right: str, sharing: str, team: UUID | None) -> tuple[str, UUID | None]:
    """With whom a view is shared, if the caller may."""
    if sharing != TEAM and team is not None:
        raise Invalid("savedView.sharedTeamId", "is for views that are shared with a team")
    reach = who.reach(right, Act.WRITE)
    if sharing == EVERYONE and reach is not Reach.ALL:
        raise _out_of_reach("everyone", "all such records")
    if sharing != TEAM:
        return sharing or NOBODY, None
    if reach < Reach.TEAM:
        raise _out_of_reach("a team", "your team's records")
    team = team or who.team_id
    if team is None or team not in teams_of(who):
        raise Invalid(
            "savedView.sharedTeamId", "is neither your team nor one below it", reason="TEAM_NOT_FOUND"
        )
    return TEAM, team


def _out_of_reach(whom: str, what: str) -> Denied:
    return Denied(f"Sharing with {whom} needs the right to change {what}.", reason="SHARING_OUT_OF_REACH")


_DROP = text("DELETE FROM saved_view_defaults WHERE view_id = :view")
_BEGIN = text(
    "INSERT INTO saved_view_defaults (tenant_id, person_id, of_type, view_id) VALUES (:tenant, :person, :of_type, :view)"
    " ON CONFLICT (tenant_id, person_id, of_type) DO UPDATE SET view_id = excluded.view_id"
)
_CLEAR = text("DELETE FROM saved_view_defaults WHERE person_id = :person AND view_id = :view")


async def drop_view(tx: Transaction, view: SavedView) -> None:
    """Deletes a view that is locked; it is nobody's default from then on."""
    await tx.session.execute(_DROP, {"view": view.id})
    tx.delete(view)
    tx.record(SavedViewDeleted(**told(view)), on=view)


async def make_default(tx: Transaction, view: SavedView) -> None:
    """Lets the caller's list begin with a view, which is locked."""
    values = {
        "tenant": tx.who.tenant_id,
        "person": tx.who.person_id,
        "of_type": view.of_type,
        "view": view.id,
    }
    await tx.session.execute(_BEGIN, values)


async def clear_default(tx: Transaction, view: SavedView) -> None:
    """Lets it begin so no longer."""
    await tx.session.execute(_CLEAR, {"person": tx.who.person_id, "view": view.id})
