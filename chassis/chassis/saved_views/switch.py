"""What a service declares: the lists of which views can be saved; and what is wrong with a view."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from google.protobuf.message import Message

from chassis.custom_fields.given import PREFIX
from chassis.custom_fields.known import Definitions
from chassis.errors import Invalid, NotFound, Precondition, Problem, Violation
from chassis.listing import Listing
from chassis.principal import Act, Principal, Reach
from chassis.record_types import for_type
from chassis.rpc.call import Call
from chassis.saved_views.view import sees
from chassis.wire import descriptor_of


class SavedViewBroken(Precondition):
    """The list does not understand the view's filter any longer."""

    reason = "SAVED_VIEW_BROKEN"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something of a view that its list does not understand."""

    field: str
    reason: str
    message: str


class Viewed:
    """One kind of record whose lists can be saved as views: its listing, and the message whose fields are the columns.

    Raises ValueError for a listing that shows everything to everybody: it has no right by which views are measured.
    """

    def __init__(self, listing: Listing, message: type[Message]) -> None:
        if listing.right is None:
            raise ValueError(f"{listing.record_type}: a list without a right has no views")
        self.listing = listing
        self.right: str = listing.right
        self.columns = frozenset(str(field.json_name) for field in descriptor_of(message).fields) - {
            "etag", "customFields",
        }  # fmt: skip

    def wrong(self, known: Definitions, values: Mapping[str, Any]) -> Iterator[tuple[str, Problem]]:
        """What the list does not understand of a view's filter, order and columns, each with the field where it stands."""
        custom = known if self.listing.has_custom_fields else None
        for name, field in (("filter", "filter"), ("order_by", "orderBy")):
            if values.get(name):
                try:
                    self.listing.understand(custom, **{name: values[name]})
                except Problem as problem:
                    yield field, problem
        for place, column in enumerate(values.get("columns", ())):
            own = custom is not None and column.startswith(PREFIX)
            if column not in self.columns and not (own and column.removeprefix(PREFIX) in known.fields):
                yield (
                    f"columns[{place}]",
                    Invalid(
                        "columns", f"there is no field '{column[:60]}' to show", reason="COLUMNS_INVALID"
                    ),
                )

    def check(self, known: Definitions, values: Mapping[str, Any]) -> None:
        """Raises Invalid naming each field that the list does not understand; Precondition while one is being indexed."""
        found: list[tuple[str, Problem]] = []
        for field, problem in self.wrong(known, values):
            if not isinstance(problem, Invalid):
                raise problem
            found.append((field, problem))
        if found:
            refused = Invalid.of([
                Violation(f"savedView.{field}", problem.violations[0].description) for field, problem in found
            ])  # fmt: skip
            refused.reason = found[0][1].reason
            raise refused

    def troubles(self, known: Definitions, values: Mapping[str, Any]) -> list[Trouble]:
        """The same, for showing."""
        return [
            Trouble(
                field,
                problem.reason,
                problem.violations[0].description if problem.violations else problem.message,
            )
            for field, problem in self.wrong(known, values)
        ]


class SavedViews:
    """The lists of one service of which views can be saved, by record type."""

    def __init__(self, *viewed: Viewed) -> None:
        self._viewed: Mapping[str, Viewed] = {one.listing.record_type: one for one in viewed}

    def of(self, record_type: str, field: str) -> Viewed:
        """The list of those records. Raises Invalid (RECORD_TYPE_UNKNOWN) naming `field`."""
        return for_type(self._viewed, record_type, field, "has no saved views")

    def readable(self, who: Principal) -> Sequence[str]:
        """The record types that somebody may read at all."""
        return [
            name for name, one in self._viewed.items() if who.reach(one.right, Act.READ) is not Reach.NONE
        ]

    def changeable(self, who: Principal) -> Sequence[str]:
        """The record types of which somebody may change all shared views."""
        return [
            name for name in self.readable(who) if who.reach(self._viewed[name].right, Act.WRITE) is Reach.ALL
        ]

    def seen(self, who: Principal, view: Any) -> bool:
        """Whether somebody sees a view; `view` is a row object or a row of the read path."""
        found = self._viewed.get(view["of_type"] if hasattr(view, "keys") else view.of_type)
        return found is not None and sees(who, found.right, view)

    async def check_history(self, call: Call, id: UUID) -> None:
        """Raises NotFound for a view, also a deleted one, that is not the caller's to see."""
        for row in await call.database.read(call.who, "SELECT * FROM saved_views WHERE id = $1", id):
            self.check_seen(call.who, row)

    def check_seen(self, who: Principal, view: Any) -> None:
        """Raises NotFound for a view that is not the caller's to see."""
        if not self.seen(who, view):
            raise NotFound("saved view", view["id"] if hasattr(view, "keys") else view.id)
