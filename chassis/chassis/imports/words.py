"""What texts of a file mean, where a field has a set of values: said by the person who imports, for this file."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from chassis.errors import Invalid
from chassis.imports.custom import Choices
from chassis.imports.importer import Importer
from chassis.imports.mapping import Target
from chassis.imports.reading import Row
from chassis.imports.refused import restored
from chassis.imports.values import Choice, Refused, Tags

MOST_UNKNOWN = 200
"""Texts that are told to be no value."""


def choice_of(target: Target) -> Choice | None:
    """The set of values of a field, if it has one."""
    if isinstance(target.value, Choices):
        return target.value.one
    return target.value if isinstance(target.value, Choice) else None


def with_words(importer: Importer, words: Iterable[Sequence[str]]) -> Importer:
    """The importer that takes these texts for these values. Raises Invalid (MAPPING_INVALID) naming `values[n]`."""
    by_field: dict[str, dict[str, str]] = {}
    targets = {target.field: target for target in importer.targets}
    for place, (field, text, value) in enumerate(words):
        choice = choice_of(targets[field]) if field in targets else None
        if choice is None:
            raise _wrong(f"values[{place}].field", f"'{field[:100]}' has no set of values")
        known = {str(one): one for one in choice.choices}
        if value and value not in known:
            raise _wrong(
                f"values[{place}].value", f"'{value[:60]}' is none of: {', '.join(list(known)[:30])}"
            )
        by_field.setdefault(field, {})[text] = value
    if not by_field:
        return importer
    return replace(importer, targets=tuple(_taught(t, by_field.get(t.field, {})) for t in importer.targets))


def _wrong(field: str, description: str) -> Invalid:
    return Invalid(field, description, reason="MAPPING_INVALID")


def _taught(target: Target, words: Mapping[str, str]) -> Target:
    choice = choice_of(target)
    if choice is None or not words:
        return target
    taught = replace(choice, words=tuple(words.items()))
    value = replace(target.value, one=taught) if isinstance(target.value, Choices) else taught
    return replace(target, value=value)


def unknown(importer: Importer, mapping: Mapping[int, str], rows: Iterable[Row]) -> list[list[object]]:
    """Triples of field, text and number of rows, for texts that are none of their field's values, the most frequent first."""
    choices = {
        column: (target.field, choice, isinstance(target.value, Choices))
        for column, name in mapping.items()
        for target in importer.targets
        if target.field == name and (choice := choice_of(target)) is not None
    }
    if not choices:
        return []
    counted: dict[tuple[str, str], int] = {}
    known: dict[tuple[str, str], bool] = {}
    for row in rows:
        for column, (field, choice, several) in choices.items():
            cell = row.cells[column].strip() if column < len(row.cells) else ""
            for text in _texts(restored(cell), several):
                key = field, text
                if key not in known:
                    if len(known) > 100_000:
                        break
                    known[key] = _read(choice, text)
                if not known[key]:
                    counted[key] = counted.get(key, 0) + 1
    most = sorted(counted.items(), key=lambda one: (-one[1], one[0]))[:MOST_UNKNOWN]
    return [[field, text[:200], count] for (field, text), count in most]


def _texts(cell: str, several: bool) -> Iterator[str]:
    if not cell:
        return
    if not several:
        yield cell
        return
    try:
        yield from Tags(longest=200).read(cell).value
    except Refused:
        return


def _read(choice: Choice, text: str) -> bool:
    try:
        choice.read(text)
    except Refused:
        return False
    return True
