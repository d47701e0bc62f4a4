"""The definitions of one tenant and kind of record, known to each process and never outdated when they count.

What is known carries the version of its set, and that version is read anew by whoever uses it: within the transaction
that writes values, behind a lock that definitions cannot change under, and at the beginning of a list. So replicas need
not tell each other anything; what a process knows spares it the reading of the rows, and not the question.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from chassis.custom_fields.definition import Definition, Kind, Unfit, definition_of
from chassis.custom_fields.given import PREFIX, Given
from chassis.errors import Invalid, Violation
from chassis.principal import Principal

_KNOWN = 2048


@dataclass(frozen=True)
class Definitions:
    """The fields of one kind of record, by key, in the order of the screen."""

    version: int = 0
    fields: Mapping[str, Definition] = field(default_factory=dict[str, Definition])

    @property
    def filterable(self) -> list[Definition]:
        """Those whose values are in the index, or are being taken in."""
        return [one for one in self.fields.values() if one.filterable]

    @property
    def offered(self) -> list[Definition]:
        """Those that take new values."""
        return [one for one in self.fields.values() if not one.archived]

    def of_new(self, given: Given, who: Principal, seen: frozenset[tuple[str, str]]) -> dict[str, Any]:
        """The values of a new record. Raises Invalid naming each `customFields.<key>` that is wrong or missing."""
        return self._checked(given, {}, who, seen, new=True)

    def of_changed(
        self, given: Given, present: Mapping[str, Any], who: Principal, seen: frozenset[tuple[str, str]]
    ) -> dict[str, Any]:
        """The values of a record after the change; what stays as it is need not be fit. Raises Invalid, likewise."""
        return self._checked(given, present, who, seen, new=False)

    def _checked(
        self, given: Given, present: Mapping[str, Any], who: Principal, seen: frozenset[tuple[str, str]], *, new: bool
    ) -> dict[str, Any]:  # fmt: skip
        out = {key: value for key, value in present.items() if not given.whole or self._stays(key, given)}
        wrong: list[Violation] = []
        for key, value in given.values.items():
            try:
                taken = self._taken(key, value, present.get(key), seen)
            except Unfit as unfit:
                wrong.append(Violation(PREFIX + key[:100], str(unfit)))
                continue
            if taken is None:
                out.pop(key, None)
            else:
                out[key] = taken
        touched = given.values.keys() if not (new or given.whole) else self.fields.keys()
        for key in touched:
            one = self.fields.get(key)
            if one is None or one.archived or key in out:
                continue
            if new and one.default is not None and key not in given.values:
                out[key] = one.default
            elif one.required and who.service is None and not any(v.field == PREFIX + key for v in wrong):
                wrong.append(Violation(PREFIX + key, "is required: give it a value"))
        if wrong:
            raise Invalid.of(wrong[:50])
        return out

    def _stays(self, key: str, given: Given) -> bool:
        """Whether a value outlives the writing of all of them: nobody may write those of archived fields."""
        one = self.fields.get(key)
        return one is None or one.archived

    def _taken(self, key: str, value: Any, present: Any, seen: frozenset[tuple[str, str]]) -> Any:
        one = self.fields.get(key)
        if one is None:
            known = ", ".join([f.key for f in self.offered][:30])
            raise Unfit(f"there is no such field; there are: {known or 'none'}")
        taken = one.value(value)
        if taken == present:
            return taken
        if one.archived:
            raise Unfit("is archived and takes no values")
        one.check_offered(taken, present)
        if one.kind is Kind.REFERENCE and taken is not None and (one.reference_type, taken) not in seen:
            raise Unfit(f"there is no {one.reference_type} {taken}, or you may not see it")
        return taken


NONE = Definitions()


class Known:
    """What a process knows of definitions, by tenant and kind of record."""

    def __init__(self) -> None:
        self._sets: OrderedDict[tuple[object, str], Definitions] = OrderedDict()

    def of(self, who: Principal, of_type: str, version: int) -> Definitions | None:
        """The definitions of that version, if they are known."""
        found = self._sets.get((who.tenant_id, of_type))
        if found is None or found.version != version:
            return None
        self._sets.move_to_end((who.tenant_id, of_type))
        return found

    def learn(self, who: Principal, of_type: str, rows: Sequence[Mapping[str, Any]]) -> Definitions:
        """Keeps what was read."""
        if not rows:
            return NONE
        fields = [definition_of(_plain(row)) for row in rows if row["id"] is not None]
        found = Definitions(rows[0]["set_version"], {one.key: one for one in fields})
        self._sets[who.tenant_id, of_type] = found
        if len(self._sets) > _KNOWN:
            self._sets.popitem(last=False)
        return found


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with its JSON read, whichever way it came."""
    plain = dict(row)
    for name in ("choices", "default_value"):
        if isinstance(plain[name], str):
            plain[name] = orjson.loads(plain[name])
    return plain
