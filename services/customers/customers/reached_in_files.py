"""Ways to reach customers and contacts in files: the primary value in a column of its own, its label in another, all further
entries in one cell, so that what goes out comes back whole.

Entries of a cell are separated by semicolons, and a label stands before its value: `home: +86 10 6666 8888; +86 138 0000 1234`.
Of an address the parts are separated by strokes, from country to postal code: `CN / 广东 / 深圳 / / 深南大道 1 号 / 518000`.
A separator within a value has a backslash before it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chassis.exports.columns import Column, Derived
from chassis.imports.addresses import LONGEST, STROKES, Address, address_told
from chassis.imports.mapping import Target
from chassis.imports.values import Country, Email, Phone, Several, Text, marked, parted, unmarked
from chassis.imports.values import told as entry_told
from customers.profile import Entries, Reached, Way

ADDRESS = (
    ("countryCode", "Country", "国家", "country_code", ("billing country", "country code")),
    ("province", "Province", "省份", "province", ("省", "state", "billing state")),
    ("city", "City", "城市", "city", ("市", "billing city")),
    ("district", "District", "区县", "district", ("区",)),
    ("street", "Street", "地址", "street", ("详细地址", "address", "billing street")),
    ("postalCode", "Postal code", "邮编", "postal_code", ("邮政编码", "zip", "billing postal code")),
)
"""Field, heading in English and Chinese, part of an address, further headings."""


@dataclass(frozen=True)
class Files:
    """A way in files: the fields of the primary value, of its label and of the further entries, and their headings."""

    way: str
    value: str
    first: str
    label: str
    others: str
    kind: Any
    heads: tuple[tuple[str, str], tuple[str, str]]
    """Of the label and of the others, in English and Chinese."""
    aliases: tuple[str, ...] = ()
    most: int = 20


FILES = (
    Files(
        "phones", "number", "phone", "phoneLabel", "otherPhones", Phone(),
        (("Phone label", "电话标签"), ("Further phones", "其余电话")),
        ("phone 2", "other phone", "电话 2", "其他电话", "备用电话"),
    ),
    Files(
        "emails", "address", "email", "emailLabel", "otherEmails", Email(),
        (("E-mail label", "邮箱标签"), ("Further e-mails", "其余邮箱")),
        ("e-mail 2", "email 2", "other email", "邮箱 2", "其他邮箱", "备用邮箱"),
    ),
    Files(
        "addresses", "address", "", "addressLabel", "otherAddresses", Address(),
        (("Address label", "地址标签"), ("Further addresses", "其余地址")),
    ),
    Files(
        "accounts", "account", "imAccount", "accountLabel", "otherAccounts", Text(200),
        (("Messaging account label", "即时通讯标签"), ("Further messaging accounts", "其余即时通讯账号")),
    ),
)  # fmt: skip
ACCOUNT = Target(
    "imAccount", "Messaging account", Several("account", Text(200)),
    aliases=("即时通讯账号", "即时通讯", "微信", "wechat", "qq", "skype", "im"),
)  # fmt: skip
"""Behind a label there may be one: as address books write it, `wechat: zhang3`."""


def targets(*ways: str) -> tuple[Target, ...]:
    """The fields of labels and further entries of these ways."""
    out: list[Target] = []
    for one in FILES:
        if one.way in ways:
            (label, label_zh), (others, others_zh) = one.heads
            out.append(Target(one.label, label, Text(30), aliases=(label_zh,)))
            several = Several(one.value, one.kind, one.most)
            out.append(Target(one.others, others, several, aliases=(others_zh, *one.aliases)))
    return tuple(out)


def address_targets() -> tuple[Target, ...]:
    """The fields of the parts of the primary address."""
    return tuple(
        Target(
            field, en, Country() if part == "country_code" else Text(LONGEST.get(part, 100)),
            aliases=(zh, *aliases),
        )
        for field, en, zh, part, aliases in ADDRESS
    )  # fmt: skip


def address_in(values: Mapping[str, Any]) -> dict[str, str]:
    """The parts of the primary address that a row has."""
    return {part: values[field] for field, _, _, part, _ in ADDRESS if field in values}


def entries_in(
    record: Reached | None, ways: Sequence[Way], values: Mapping[str, Any], *, fill: bool
) -> dict[str, Entries]:
    """List → entries as they are to be by a row, of those ways of which it says more than a primary value, or for which the
    record has no column of its own. What a row leaves empty stays, and with `fill` whatever is there."""
    out: dict[str, Entries] = {}
    for one in FILES:
        way = next(way for way in ways if way.name == one.way)
        first: Any = address_in(values) if one.way == "addresses" else values.get(one.first)
        whole = one.others in values or one.label in values
        if way.single and not whole and one.way != "accounts":
            continue
        said: Entries = []
        if isinstance(first, list):
            said += first
        elif first:
            said.append({"label": "", one.value: first})
        if said and one.label in values:
            said[0] = {**said[0], "label": values[one.label]}
        said += values.get(one.others, [])
        had = [] if record is None else record.entries(one.way)
        if not said and not (whole and had):
            continue
        fresh = [entry for entry in said if all(entry[one.value] != there[one.value] for there in had)]
        if fill:
            out[one.way] = [*had, *fresh]
        elif not whole:
            # A row knows one of them; the others stay behind it.
            out[one.way] = [*fresh, *had]
        elif first:
            out[one.way] = said if one.others in values else [*said, *had[1:]]
        else:
            head = had[:1]
            if head and one.label in values:
                head = [{**head[0], "label": values[one.label]}]
            out[one.way] = [*head, *said] if one.others in values else [*head, *had[1:]]
    return {name: [{"primary": False, **entry} for entry in entries] for name, entries in out.items()}


def told(way: str, entries: Entries) -> str:
    """Entries as a cell that an import reads."""
    one = next(one for one in FILES if one.way == way)
    out: list[str] = []
    for entry in entries:
        value = address_told(entry[one.value]) if way == "addresses" else str(entry[one.value])
        out.append(entry_told(entry["label"], value))
    return "; ".join(out)


def columns(way: str, column: str, read: Callable[[Any], Entries], label: str = "") -> tuple[Column, ...]:
    """The columns of a file with the label and the further entries of a way; `read` makes all entries of what the record's column
    has, or the further ones where the label stands in a column of its own."""
    one = next(one for one in FILES if one.way == way)
    (en, zh), (others_en, others_zh) = one.heads

    def first_label(kept: Any) -> str:
        return next((entry["label"] for entry in read(kept)), "")

    return (
        Column(one.label, en, zh, label) if label else Derived(one.label, en, zh, column, first_label),
        Derived(
            one.others, others_en, others_zh, column, lambda kept: told(way, read(kept) if label else read(kept)[1:])
        ),
    )  # fmt: skip


_WHAT = ("title", "department", "decision_role")


def affiliation_told(customer: str, what: Mapping[str, Any], superior: str) -> str:
    """What a contact is at a further customer, as `affiliations_in` reads it: customer, title, department, role, superior."""
    parts = [customer, *(what[name] or "" for name in _WHAT), superior]
    while not parts[-1]:
        parts.pop()
    return marked(" / ".join(marked(part, STROKES) for part in parts), ";；\n")


def affiliations_in(text: str) -> list[dict[str, str]]:
    """The further customers of a cell: each with customer, title, department, decision_role and superior, of which all but the
    first may be left out."""
    names = ("customer", *_WHAT, "superior")
    out: list[dict[str, str]] = []
    for entry in parted(text, ";；\n"):
        parts = [unmarked(part).strip() for part in parted(unmarked(entry), STROKES)]
        if parts[0]:
            out.append(dict(zip(names, [*parts, *[""] * len(names)][: len(names)], strict=True)))
    return out
