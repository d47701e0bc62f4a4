"""What a visitor sent with a web form: read, made into a lead's values, and taken once.

A submission and the capture of its lead share one id, made from what makes the submission the same: its request id, or else its
content and the visitor's address within ten minutes (a static page cannot make a fresh request id for each visitor). So whoever
sends the same again, and however often, gets one lead.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID, uuid5

import orjson
from sqlalchemy import text

from chassis import texts
from chassis.database import Database, Transaction, read_across
from chassis.errors import IdempotencyKeyReused, Invalid, Violation
from chassis.events.event import Event
from chassis.principal import NOBODY, Principal
from chassis.validation import formats
from marketing.campaign import Campaign
from marketing.form import UTM, FormField, WebForm
from marketing.member import Candidate, answer

SAME_WITHIN = timedelta(minutes=10)
_LONGEST = {"TEXT": 200, "LONG_TEXT": 2000, "EMAIL": 254, "PHONE": 40}
_LONGEST_IN_LEAD = {"TITLE": 100, "IM_ACCOUNT": 100, "INDUSTRY": 100, "REGION": 100}
_LONGEST_NOTES = 10_000
_LONGEST_UTM, _LONGEST_ADDRESS, _LONGEST_CLICK = 200, 2048, 500
_CLICKS = (
    "gclid", "gbraid", "wbraid", "msclkid", "fbclid", "ttclid", "twclid", "li_fat_id", "yclid", "bd_vid", "qhclickid",
    "sogou_vid", "clickid",
)  # fmt: skip
"""By what Google, Microsoft, Meta, TikTok, X, LinkedIn, Yandex, Baidu, 360 and Sogou know a click."""
_NO = frozenset({"", "0", "false", "no", "off"})


@dataclass(frozen=True, slots=True)
class Sent:
    """What a visitor sent, fit for a lead."""

    lead: Mapping[str, str]
    """A lead's field → its value."""
    utm: Mapping[str, str]
    name: str
    landing_page: str = ""
    referrer: str = ""
    click_id: str = ""
    answers: Sequence[tuple[str, str]] = ()
    """Question and answer of what fills no field of a lead."""


@dataclass(frozen=True, kw_only=True)
class FormSubmitted(Event):
    form_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    campaign_id: UUID | None
    lead_id: UUID
    submit_time: datetime


@dataclass(slots=True)
class _Reading:
    lead: dict[str, str] = field(default_factory=dict[str, str])
    notes: list[str] = field(default_factory=list[str])
    answers: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    wrong: list[Violation] = field(default_factory=list[Violation])


def read(fields: Sequence[FormField], values: Mapping[str, str], referrer: str) -> Sent:
    """The values as a lead holds them. Raises Invalid naming each value that is wrong."""
    found = _Reading()
    for one in fields:
        value = _value(one, values.get(one.key, ""))
        problem = _problem(one, value)
        if problem:
            found.wrong.append(Violation(f"values.{one.key}", f"{one.label}: {problem}"))
        elif value and one.lead_field and one.lead_field != "NOTES":
            found.lead[one.lead_field.lower()] = value
        elif value:
            found.notes.append(value if one.lead_field else f"{one.label}: {value}")
            if not one.lead_field:
                found.answers.append((one.label, value))
    name = found.lead.get("name") or found.lead.get("company_name") or ""
    if not name and not found.wrong:
        named = next(one for one in fields if one.lead_field in ("NAME", "COMPANY_NAME"))
        found.wrong.append(Violation(f"values.{named.key}", f"{named.label}: please fill this in"))
    found.lead["notes"] = "\n".join(found.notes)
    if len(found.lead["notes"]) > _LONGEST_NOTES:
        found.wrong.append(Violation("values", f"are longer than {_LONGEST_NOTES:,} characters together"))
    if found.wrong:
        raise Invalid.of(found.wrong)
    landing_page = values.get("kehu_landing_page") or referrer
    page = _origin(landing_page, referrer)
    utm = {one: texts.line(values.get(f"utm_{one}") or page.get(f"utm_{one}", "")) for one in UTM}
    return Sent(
        found.lead, {one: value[:_LONGEST_UTM] for one, value in utm.items() if value}, name,
        landing_page=texts.line(landing_page)[:_LONGEST_ADDRESS],
        referrer=texts.line(values.get("kehu_referrer", ""))[:_LONGEST_ADDRESS],
        click_id=texts.line(values.get("kehu_click_id") or _click(page))[:_LONGEST_CLICK], answers=found.answers,
    )  # fmt: skip


def _value(one: FormField, text: str) -> str:
    if one.kind == "LONG_TEXT":
        return texts.lines(text)
    if one.kind == "CHECKBOX":
        return "" if text.strip().lower() in _NO else "yes"
    return texts.line(text)


def _problem(one: FormField, value: str) -> str | None:
    if not value:
        return "please fill this in" if one.required else None
    longest = min(_LONGEST.get(one.kind, 200), _LONGEST_IN_LEAD.get(one.lead_field, _LONGEST_NOTES))
    if len(value) > longest:
        return f"is longer than {longest:,} characters"
    match one.kind:
        case "EMAIL":
            return formats.email(value)
        case "PHONE":
            return formats.phone(value)
        case "CHOICE" if value not in {texts.line(choice) for choice in one.choices}:
            return "choose one of what is offered"
        case _:
            return None


def _origin(*pages: str) -> Mapping[str, str]:
    """What the first address says that says where its visitor came from: of two advertisements, none gets the other's click."""
    told = (*(f"utm_{one}" for one in UTM), *_CLICKS)
    for said in map(_parameters, pages):
        if any(said.get(name) for name in told):
            return said
    return {}


def _parameters(page: str) -> Mapping[str, str]:
    """What the address of the page says, where browsers tell it."""
    try:
        return dict(parse_qsl(urlsplit(page).query, max_num_fields=100))
    except ValueError:
        return {}


def _click(page: Mapping[str, str]) -> str:
    """The first id of a click that advertisers put into addresses, with its name."""
    return next((f"{name}={page[name]}" for name in _CLICKS if page.get(name)), "")


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes a submission the same as another."""

    id: UUID
    earlier: UUID
    """Its id had it been sent in the ten minutes before; the same when a request id says what is the same."""
    digest: bytes
    """Of its content."""


def identity_of(
    form_id: UUID, request_id: str, values: Mapping[str, str], address: str, at: datetime, secret: str
) -> Identity:
    """The digests are keyed, so that nobody can find the visitor's address from what is kept."""
    content = orjson.dumps(dict(values), option=orjson.OPT_SORT_KEYS)
    digest = hmac.digest(secret.encode(), content, hashlib.sha256)
    if request_id:
        id = uuid5(form_id, f"request {request_id}")
        return Identity(id, id, digest)
    keyed = hmac.digest(secret.encode(), content + address.encode(), hashlib.sha256).hex()
    span = int(at.timestamp() // SAME_WITHIN.total_seconds())
    return Identity(
        uuid5(form_id, f"content {keyed} {span}"), uuid5(form_id, f"content {keyed} {span - 1}"), digest
    )


async def taken_before(database: Database, who: Principal, same: Identity, now: datetime) -> bool:
    """Whether the submission was taken before. Raises IdempotencyKeyReused when its request id came with other content."""
    rows = await database.read(
        who,
        "SELECT id, digest, submit_time FROM form_submissions WHERE id = ANY($1)",
        [same.id, same.earlier],
    )
    for row in rows:
        if row["digest"] is not None and row["digest"] != same.digest:
            raise IdempotencyKeyReused
        if row["id"] == same.id or now - row["submit_time"] < SAME_WITHIN:
            return True
    return False


_NOTE = text(
    "INSERT INTO form_submissions (tenant_id, id, form_id, digest, submit_time) VALUES (:tenant, :id, :form, :digest, :at)"
    " ON CONFLICT (tenant_id, id) DO UPDATE SET digest = excluded.digest"
    " WHERE form_submissions.digest IS NULL AND excluded.digest IS NOT NULL RETURNING xmax = 0 AS fresh"
)
_COUNT = text(
    "UPDATE web_forms SET submission_count = submission_count + 1,"
    " last_submission_time = greatest(last_submission_time, :at) WHERE id = :id"
)


@dataclass(frozen=True, slots=True)
class Captured:
    """Somebody whom a form brought: a new lead, or one that was there."""

    submission_id: UUID
    lead_id: UUID
    form_id: UUID
    campaign_id: UUID | None
    name: str
    at: datetime
    digest: bytes | None = None


async def note(tx: Transaction, lead: Captured) -> None:
    """Counts the submission, once, and makes the lead a member of the campaign that has answered.

    Called by the call that captured the lead, and again when leads tells of the lead: should the call have died in between,
    the event makes it whole. Where the event comes first, it knows nothing of what was sent, and the call adds that.
    """
    fresh = await tx.session.execute(
        _NOTE,
        {
            "tenant": tx.who.tenant_id, "id": lead.submission_id, "form": lead.form_id, "digest": lead.digest, "at": lead.at,
        },
    )  # fmt: skip
    row = fresh.first()
    if row is None or not row.fresh:
        return
    form = await tx.find(WebForm, lead.form_id)
    if form is None:
        return
    await tx.session.execute(_COUNT, {"id": form.id, "at": lead.at})
    tx.record(
        FormSubmitted(
            form_id=form.id, owner_id=form.owner_id, team_id=form.team_id, campaign_id=lead.campaign_id,
            lead_id=lead.lead_id, submit_time=lead.at,
        ),
        on=form,
    )  # fmt: skip
    campaign = await tx.find(Campaign, lead.campaign_id) if lead.campaign_id else None
    if campaign is not None:
        await answer(tx, campaign, Candidate(lead.name, lead_id=lead.lead_id), lead.at)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a public key leads."""

    who: Principal
    """Marketing acting by itself in the form's tenant."""
    form_id: UUID


_known: dict[tuple[str, str], Place] = {}
_MOST_KNOWN = 10_000
_FIND = "SELECT tenant_id, tenant_slug, id FROM web_forms WHERE public_key = $1"


async def find_place(relay_url: str, public_key: str) -> Place | None:
    """The place of that key; None when nobody has it. A key never moves, so what was found is remembered.

    A stranger's tenant is not known: keys are looked up by the relay role, which sees nothing else of forms. Raises
    Unavailable.
    """
    known = _known.get((relay_url, public_key))
    if known is not None:
        return known
    rows = await read_across(relay_url, _FIND, public_key)
    if not rows:
        return None
    row = rows[0]
    who = Principal(
        tenant_id=row["tenant_id"], tenant=row["tenant_slug"], person_id=NOBODY, service="marketing"
    )
    if len(_known) >= _MOST_KNOWN:
        _known.clear()
    found = _known[(relay_url, public_key)] = Place(who, row["id"])
    return found
