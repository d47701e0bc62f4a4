"""Which column of a file holds which field: what there is to map to, and a proposal from the headers."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from chassis import texts
from chassis.custom_fields.given import PREFIX
from chassis.errors import Invalid
from chassis.imports.values import Value

ROW = ""
"""The field of what concerns a row as a whole."""


@dataclass(frozen=True)
class Target:
    """A field that a column can be mapped to.

    `field` is its JSON name (`companyName`), `label` what the screen calls it, `aliases` further headers, in
    English and Chinese, by which a column is recognised. `required`: a column must be mapped to it and no
    row may leave it empty.
    """

    field: str
    label: str
    value: Value
    aliases: tuple[str, ...] = ()
    required: bool = False
    description: str = ""

    @property
    def help(self) -> str:
        """What a cell may hold."""
        return self.description or self.value.description


_CURRENCY = re.compile(r"[(\uff08]\s*(currency|币种)\s*[)\uff09]", re.IGNORECASE)


def plain(header: str) -> str:
    """A header by what tells it from others: without case, width, white space, punctuation and what stands in brackets, unless
    that says that it is the currency of what stands before them."""
    header = _CURRENCY.sub(r" \1", header)
    return re.sub(
        r"[\W_]+", "", texts.same(re.sub(r"[(\uff08\[【].*?[)\uff09\]】]", "", header)) or texts.same(header)
    )


def proposal(header: Sequence[str], targets: Sequence[Target]) -> dict[int, str]:
    """The columns whose headers name a field: by equality first, then by an alias in them, the one that stands last.

    Each column and each field stands at most once; what could be two fields, or is about one that has its column, is left to
    the person, but a field that the tenant has added under that very name is meant before one that came with the suite.
    """
    names = {t.field: [n for n in map(plain, (t.field, t.label, *t.aliases)) if n] for t in targets}
    cells = [plain(cell) for cell in header]
    # A field's own name is never meant for another field of which it is an alias.
    out = {
        column: cell for column, cell in enumerate(header) if cell in names and header.index(cell) == column
    }
    for column, cell in enumerate(cells):
        if column in out:
            continue
        fits = [f for f, known in names.items() if cell in known and f not in out.values()]
        fits = [f for f in fits if f.startswith(PREFIX)] or fits
        if cell and len(fits) == 1:
            out[column] = fits[0]
    for column, cell in enumerate(cells):
        if column in out or not cell:
            continue
        out.update(_last(column, cell, names, out.values()))
    return out


_NAMED = re.compile(r"(name|姓名|名称)$")
"""A contact's name is the contact, and not a name of another kind."""


def _last(
    column: int, cell: str, names: Mapping[str, Sequence[str]], taken: Collection[str]
) -> Mapping[int, str]:
    for about in (_NAMED.sub("", cell), cell):
        near = {f: max((_end(n, about) for n in known), default=(0, 0)) for f, known in names.items()}
        last = max(near.values(), default=(0, 0))
        fits = [f for f, place in near.items() if place == last]
        if last[1]:
            return {column: fits[0]} if len(fits) == 1 and fits[0] not in taken else {}
    return {}


def _end(name: str, header: str) -> tuple[int, int]:
    """Where the name ends in the header and how long it is: what a header is about stands last in it, in Chinese and in English,
    as in 联系人电话 and Company phone number."""
    stands_in = len(name) >= 4 if name.isascii() else len(name) >= 2
    at = header.rfind(name) if stands_in else -1
    return (at + len(name), len(name)) if at >= 0 else (0, 0)


def checked(pairs: Sequence[tuple[int, str]], columns: int, targets: Sequence[Target]) -> dict[int, str]:
    """The mapping a person has confirmed. Raises Invalid (MAPPING_INVALID) naming each entry that is
    wrong."""
    known: Mapping[str, Target] = {t.field: t for t in targets}
    out: dict[int, str] = {}
    for place, (column, name) in enumerate(pairs):
        if not 0 <= column < columns:
            raise _wrong(
                f"mapping[{place}].column", f"the file has no column {column}: they are 0 to {columns - 1}"
            )
        if name not in known:
            raise _wrong(
                f"mapping[{place}].field", f"there is no field '{name[:100]}'; there are: {', '.join(known)}"
            )
        if column in out:
            raise _wrong(f"mapping[{place}].column", f"column {column} is mapped twice")
        if name in out.values():
            raise _wrong(f"mapping[{place}].field", f"'{name}' is mapped twice")
        out[column] = name
    for target in targets:
        if target.required and target.field not in out.values():
            raise _wrong("mapping", f"'{target.field}' ({target.label}) is required: map a column to it")
    return out


def check_keyed(mapping: Mapping[int, str], keys: Sequence[str]) -> None:
    """Raises Invalid (MAPPING_INVALID) unless a column says which record a row is."""
    if not set(keys) & set(mapping.values()):
        raise _wrong(
            "mapping", f"an update needs to know which record a row is: map a column to {' or '.join(keys)}"
        )


def _wrong(field: str, description: str) -> Invalid:
    return Invalid(field, description, reason="MAPPING_INVALID")
