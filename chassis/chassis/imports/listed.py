"""Value lists in files: cells as the values that the tenant's lists have for them."""

from dataclasses import replace

from chassis.imports.importer import Importer
from chassis.imports.mapping import Target
from chassis.imports.values import Choice, Listed
from chassis.value_lists.kinds import Lists, OneList


def with_value_lists(importer: Importer, lists: Lists) -> Importer:
    """The importer with the values that the tenant's lists offer."""
    return replace(importer, targets=tuple(_offering(target, lists) for target in importer.targets))


def _offering(target: Target, lists: Lists) -> Target:
    if not isinstance(target.value, Listed):
        return target
    return replace(target, value=_choice(target.value, lists.by_key[target.value.list_key]))


def _choice(cell: Listed, one: OneList) -> Choice:
    # A retired value is one as well: the record may have it already, and what writes the record knows.
    names = {
        value.key: (*filter(None, (value.name_zh, value.name_en)), *cell.ways.get(value.key, ()))
        for value in one.values
    }
    return Choice(names, others=cell.longest if one.accepts_others else 0)
