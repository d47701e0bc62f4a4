"""The rows that services keep: what every one of them carries.

Rows are made by factories of the service (`Lead.capture(...)`) that check their values; `Transaction.add`
stamps the tenant, the person and the time. SQLModel does not validate a `table=True` class when it is
constructed, so nothing here relies on it.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, NamedTuple, TypeVar, cast
from uuid import UUID

from pydantic_core import PydanticUndefined
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from chassis.ids import new_id
from chassis.parts import Part
from chassis.principal import NOBODY

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Record(SQLModel):
    """A row of one tenant, keyed by `(tenant_id, id)`.

    `version` counts the writes; as the etag it guards against lost updates. All times are UTC.
    """

    record_type: ClassVar[str] = ""
    """The record's name in history, imports and errors (`lead`). Empty: the table keeps no history."""
    history_hidden: ClassVar[frozenset[str]] = frozenset()
    """Columns whose values never reach the history (secrets, derived columns)."""
    history_listed: ClassVar[frozenset[str]] = frozenset()
    """Columns that the history tells entry by entry, see `history_entries`, and not as a whole."""
    derived: ClassVar[frozenset[str]] = frozenset()
    """Columns that follow from others and are kept true to them by the database or in one place: they are never put back."""
    undone_by: ClassVar[tuple[Part, ...]] = ()
    """What of the columns is put back together or part by part, see `chassis.kept`, and not each as a whole. Plain lists, custom
    fields and shares are known."""

    tenant_id: UUID = Field(default=NOBODY, primary_key=True)
    id: UUID = Field(default_factory=new_id, primary_key=True)
    version: int = 1
    created_at: datetime = Field(default=EPOCH)
    created_by: UUID = NOBODY
    updated_at: datetime = Field(default=EPOCH)
    updated_by: UUID = NOBODY
    deleted_at: datetime | None = None

    @classmethod
    def history_entries(cls, read: Callable[[str], Any]) -> Mapping[str, Mapping[str, str]]:
        """The record's lists as the history tells them: by name, each entry with a key of its own and in one line.

        `read` gives a column as it is, or as it was. The lists named are always the same.
        """
        return {}

    def __init__(self, **values: Any) -> None:
        """A row with these values and the defaults of the other columns.

        Writes them straight into the instance: SQLModel's own way copies and dispatches each of them and
        takes 180 µs where this takes 9, which imports feel. Raises TypeError for what is no column, and for
        a missing one.
        """
        constants, factories, required, known = _defaults(type(self))
        if not (values.keys() <= known and required <= values.keys()):
            wrong = sorted((values.keys() - known) | (required - values.keys()))
            raise TypeError(f"{type(self).__name__}: unknown or missing {', '.join(wrong)}")
        own = vars(self)
        own.update(constants)
        for name, factory in factories:
            if name not in values:
                own[name] = factory()
        own.update(values)
        self.__pydantic_fields_set__.update(values)


class _Defaults(NamedTuple):
    constants: dict[str, Any]
    factories: list[tuple[str, Callable[[], Any]]]
    required: frozenset[str]
    known: frozenset[str]


_known_defaults: dict[type[SQLModel], _Defaults] = {}


def _defaults(table: type[SQLModel]) -> _Defaults:
    found = _known_defaults.get(table)
    if found is None:
        found = _known_defaults[table] = _find_defaults(table)
    return found


def _find_defaults(table: type[SQLModel]) -> _Defaults:
    constants: dict[str, Any] = {}
    factories: list[tuple[str, Callable[[], Any]]] = []
    required: set[str] = set()
    for name, column in table.model_fields.items():
        if column.default_factory is not None:
            factories.append((name, cast("Callable[[], Any]", column.default_factory)))
        elif column.default is PydanticUndefined:
            required.add(name)
        elif isinstance(column.default, list | dict | set):
            raise TypeError(f"{table.__name__}.{name}: rows would share its default, use default_factory")
        else:
            constants[name] = column.default
    return _Defaults(constants, factories, frozenset(required), frozenset(table.model_fields))


class Owned(Record):
    """A record that belongs to a person and, through them or by choice, to a team."""

    owner_id: UUID | None = None
    team_id: UUID | None = None


class Customized(SQLModel):
    """A record that has the fields which its tenant added, see `chassis.custom_fields`."""

    custom_fields: dict[str, Any] = Field(default_factory=dict[str, Any], sa_type=JSONB)
    """Values by key, as they stand on the wire."""


Entries = list[dict[str, Any]]
"""The entries of a list that a row holds."""


class Shareable(SQLModel):
    """A record that may be shared with others than its owner and their team, see `chassis.shares`."""

    shared_with: Entries = Field(default_factory=list[dict[str, Any]], sa_type=JSONB)
    """With whom, in the order in which it was first shared."""


RecordT = TypeVar("RecordT", bound=Record)
"""Any record class, for functions that give back what they were asked for."""


def etag(version: int) -> str:
    """The etag of that version of a record."""
    return str(version)
