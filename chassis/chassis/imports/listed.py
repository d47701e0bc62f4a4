"""Value lists in files: cells as the values that the tenant's lists have for them."""

from collections.abc import Mapping
from dataclasses import replace

from chassis.imports.importer import Importer
from chassis.imports.mapping import Target
from chassis.imports.values import Choice, Listed, Text
from chassis.value_lists.kinds import OneList


def with_value_lists(importer: Importer, lists: Mapping[str, OneList]) -> Importer:
    """The importer with the values that the tenant's lists offer; of a list that is not known, cells are texts."""
    return replace(importer, targets=tuple(_offering(target, lists) for target in importer.targets))


def _offering(target: Target, lists: Mapping[str, OneList]) -> Target:
    if not isinstance(target.value, Listed):
        return target
    one = lists.get(target.value.list_key)
    return replace(target, value=_choice(target.value, one) if one else Text(target.value.longest))


def _choice(cell: Listed, one: OneList) -> Choice:
    if cell.named:
        ways: dict[str, tuple[str, ...]] = {}
        for value in one.values:
            first, *second = [name for name in (value.name_zh, value.name_en) if name] or [value.key]
            ways |= {first: (value.key,), **dict.fromkeys(second, ())}
        return Choice(ways, others=cell.longest if one.accepts_others else 0)
    # A retired value is one as well: the record may have it already, and what writes the record knows.
    names = {
        value.key: (*filter(None, (value.name_zh, value.name_en)), *cell.ways.get(value.key, ()))
        for value in one.values
    }
    return Choice(names, others=cell.longest if one.accepts_others else 0)
