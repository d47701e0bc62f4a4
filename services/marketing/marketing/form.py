"""Web forms: what a public form asks, and which field of a lead each answer fills."""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import ARRAY, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from chassis.database import Transaction
from chassis.errors import Invalid, Violation
from chassis.events.event import Event
from chassis.ids import new_id
from chassis.owners import Owner
from chassis.principal import Act
from chassis.records import Owned
from chassis.search import Searchable
from marketing import errors
from marketing.campaign import Campaign, usable_campaign

OPEN, CLOSED = "OPEN", "CLOSED"
STATUSES = (OPEN, CLOSED)
HONEYPOT = "kehu_website"
"""The name of the input that people do not see."""
UTM = ("source", "medium", "campaign", "term", "content")
_OURS = re.compile(r"kehu_.*|utm_(source|medium|campaign|term|content)|public_key|values|request_id")
_NAMES = ("NAME", "COMPANY_NAME")
_FITTING: dict[str, tuple[str, ...]] = {
    "PHONE": ("PHONE",),
    "EMAIL": ("EMAIL",),
    "NOTES": ("TEXT", "LONG_TEXT", "CHOICE"),
}
_FITS_A_LINE = ("TEXT", "CHOICE")


@dataclass(frozen=True, slots=True)
class FormField:
    """One question of a form. `kind` and `lead_field` are the contract's names without their prefix."""

    key: str
    label: str
    kind: str
    required: bool = False
    placeholder: str = ""
    choices: Sequence[str] = ()
    lead_field: str = ""


class WebForm(Owned, Searchable, table=True):
    """A form that strangers send. How often, is counted past its version: nobody's etag goes stale by a visitor."""

    __tablename__ = "web_forms"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "web_form"

    name: str = ""
    campaign_id: UUID | None = None
    public_key: str = ""
    tenant_slug: str = ""
    fields: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]], sa_type=JSONB)
    submit_label: str = ""
    thank_you_text: str = ""
    redirect_url: str = ""
    allowed_origins: list[str] = Field(default_factory=list[str], sa_type=ARRAY(Text))  # pyright: ignore[reportArgumentType]
    status: str = OPEN
    submission_count: int = 0
    last_submission_time: datetime | None = None
    lead_source_key: str = ""

    def findable(self) -> None:
        """Keeps the words for searching true to the name."""
        self.find_by(names=[self.name])


def fields_of(rows: Sequence[Mapping[str, Any]]) -> list[FormField]:
    """The questions as they are kept in a form's row."""
    return [FormField(**row) for row in rows]


def rows_of(fields: Sequence[FormField]) -> list[dict[str, Any]]:
    """The questions as they go into a form's row."""
    return [{**asdict(one), "choices": list(one.choices)} for one in fields]


def _check(fields: Sequence[FormField]) -> None:
    wrong: list[Violation] = []
    keys: set[str] = set()
    filled: set[str] = set()
    for place, one in enumerate(fields):
        at = f"webForm.fields[{place}]"
        if one.key in keys:
            wrong.append(Violation(f"{at}.key", f"'{one.key}' is used twice"))
        elif _OURS.fullmatch(one.key):
            wrong.append(Violation(f"{at}.key", f"'{one.key}' is a name of ours: choose another"))
        if (one.kind == "CHOICE") != bool(one.choices):
            text = "are needed for a choice" if one.kind == "CHOICE" else "go only with a choice"
            wrong.append(Violation(f"{at}.choices", text))
        if one.lead_field in filled:
            wrong.append(Violation(f"{at}.leadField", "is filled by another field already"))
        elif one.lead_field and one.kind not in _FITTING.get(one.lead_field, _FITS_A_LINE):
            wrong.append(Violation(f"{at}.leadField", f"cannot be filled by a field of kind {one.kind}"))
        keys.add(one.key)
        if one.lead_field:
            filled.add(one.lead_field)
    if wrong:
        raise Invalid.of(wrong)
    if not filled.intersection(_NAMES):
        raise errors.FormWithoutName


@dataclass(frozen=True, kw_only=True)
class FormCreated(Event):
    form_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    name: str
    campaign_id: UUID | None


@dataclass(frozen=True, kw_only=True)
class FormUpdated(Event):
    form_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    name: str
    campaign_id: UUID | None
    status: str


@dataclass(frozen=True, kw_only=True)
class FormDeleted(Event):
    form_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    name: str


def _who(form: WebForm) -> dict[str, Any]:
    return {"form_id": form.id, "owner_id": form.owner_id, "team_id": form.team_id, "name": form.name}


def _tell_updated(tx: Transaction, form: WebForm) -> None:
    tx.record(FormUpdated(**_who(form), campaign_id=form.campaign_id, status=form.status), on=form)


async def put_up(tx: Transaction, values: Mapping[str, Any], owner: Owner, id: UUID | None) -> WebForm:
    """A new, open form of that owner. Raises Invalid, FormWithoutName."""
    _check(fields_of(values["fields"]))
    if values["campaign_id"] is not None:
        await usable_campaign(tx, values["campaign_id"], "webForm.campaignId", Act.READ)
    columns: dict[str, Any] = {
        **values, "owner_id": owner.person_id, "team_id": owner.team_id, "id": id or new_id(),
        "public_key": secrets.token_urlsafe(24), "tenant_slug": tx.who.tenant,
    }  # fmt: skip
    form = WebForm(**columns)
    form.allowed_origins = [site.lower() for site in form.allowed_origins]
    form.findable()
    tx.add(form)
    tx.record(FormCreated(**_who(form), campaign_id=form.campaign_id), on=form)
    return form


async def change_form(tx: Transaction, form: WebForm, values: Mapping[str, Any]) -> None:
    """Changes fields. Raises Invalid, FormWithoutName."""
    tidy = dict(values)
    if "allowed_origins" in tidy:
        tidy["allowed_origins"] = [site.lower() for site in tidy["allowed_origins"]]
    changed = [name for name, value in tidy.items() if getattr(form, name) != value]
    if not changed:
        return
    if "fields" in changed:
        _check(fields_of(tidy["fields"]))
    if "campaign_id" in changed and tidy["campaign_id"] is not None:
        await usable_campaign(tx, tidy["campaign_id"], "webForm.campaignId", Act.READ)
    for name in changed:
        setattr(form, name, tidy[name])
    if not form.name:
        raise Invalid("webForm.name", "is required: give it a value")
    form.findable()
    _tell_updated(tx, form)


def assign_form(tx: Transaction, form: WebForm, owner: Owner) -> None:
    """Gives the form, and the leads that come from now on, to another owner; the present owner changes nothing."""
    if form.owner_id != owner.person_id:
        form.owner_id, form.team_id = owner.person_id, owner.team_id
        _tell_updated(tx, form)


def close_form(tx: Transaction, form: WebForm) -> None:
    """No more submissions."""
    if form.status != CLOSED:
        form.status = CLOSED
        _tell_updated(tx, form)


async def reopen_form(tx: Transaction, form: WebForm) -> None:
    """Submissions are taken again. Raises CampaignGone."""
    if form.status == OPEN:
        return
    if form.campaign_id is not None and await tx.find(Campaign, form.campaign_id) is None:
        raise errors.CampaignGone
    form.status = OPEN
    _tell_updated(tx, form)


def take_down(tx: Transaction, form: WebForm) -> None:
    """Deletes the form."""
    tx.delete(form)
    tx.record(FormDeleted(**_who(form)), on=form)


def may_carry(allowed: Sequence[str], origin: str, referrer: str) -> bool:
    """Whether the site that sent the form is one that may. A browser that does not say where it comes from is let in nowhere
    but where every site may."""
    if not allowed:
        return True
    if origin.lower() not in ("", "null"):
        return origin.lower() in allowed
    site = urlsplit(referrer.lower())
    return f"{site.scheme}://{site.netloc}" in allowed
