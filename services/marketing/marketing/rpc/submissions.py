"""SubmitWebForm: what strangers send becomes a lead. The caller is nobody; marketing acts by itself in the form's tenant."""

import logging
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from kehu.leads.v1 import lead_pb2, lead_service_pb2
from kehu.marketing.v1 import web_form_service_pb2 as pb

from chassis.callers import counted
from chassis.errors import Code, IdempotencyKeyReused, NotFound, Problem
from chassis.rpc import Call
from marketing import errors
from marketing.floods import MOST_A_FORM, Floods
from marketing.form import OPEN, fields_of, may_carry
from marketing.rpc.forms import face
from marketing.submission import (
    Captured,
    Identity,
    Sent,
    find_place,
    identity_of,
    note,
    read,
    taken_before,
)

log = logging.getLogger(__name__)

_KEY = re.compile(r"[A-Za-z0-9_-]{32}")
_FORM = "SELECT * FROM web_forms WHERE id = $1 AND deleted_at IS NULL"
_THANKS = "Thank you."
_FLOODS = Floods()
_FORMS = Floods(MOST_A_FORM, "by this form")


@face.process("SubmitWebForm")
async def submit(request: pb.SubmitWebFormRequest, call: Call) -> pb.SubmitWebFormResponse:
    address = counted(request.client_address)
    _FLOODS.check(address)
    try:
        return await _submit(request, call)
    except Problem as problem:
        if _passing(problem):
            _FLOODS.take_back(address)
        raise


def _passing(problem: Problem) -> bool:
    return problem.code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)


async def _submit(request: pb.SubmitWebFormRequest, call: Call) -> pb.SubmitWebFormResponse:
    call, form = await _form(request.public_key, call)
    if not may_carry(form["allowed_origins"], request.origin, request.referrer):
        raise errors.OriginNotAllowed
    answer = pb.SubmitWebFormResponse(
        thank_you_text=form["thank_you_text"] or _THANKS, redirect_url=form["redirect_url"]
    )
    if request.kehu_website.strip():
        return answer
    now = datetime.now(UTC)
    secret = call.settings.page_token_key.get_secret_value()
    same = identity_of(form["id"], request.request_id, request.values, request.client_address, now, secret)
    if await taken_before(call.database, call.who, same, now):
        return answer
    if form["status"] != OPEN:
        raise errors.FormClosed
    sent = read(fields_of(form["fields"]), request.values, request.referrer)
    _FORMS.check(str(form["id"]))
    try:
        lead_id = await _capture(call, form, sent, same)
    except Problem as problem:
        if _passing(problem):
            _FORMS.take_back(str(form["id"]))
        raise
    if lead_id is None:
        return answer
    captured = Captured(same.id, lead_id, form["id"], form["campaign_id"], sent.name, now, same.digest)
    try:
        async with call.database.transaction(call.who) as tx:
            await note(tx, captured)
    except Problem as problem:
        # The lead is there; that is what counts. Its event, when it comes back here, makes up for the rest.
        log.warning("a submission is counted later: %s", problem)
    return answer


async def _form(public_key: str, call: Call) -> tuple[Call, Any]:
    unknown = NotFound("form", public_key[:60])
    if not _KEY.fullmatch(public_key):
        raise unknown
    place = await find_place(call.settings.relay_database_url.get_secret_value(), public_key)
    if place is None:
        raise unknown
    rows = await call.database.read(place.who, _FORM, place.form_id)
    if not rows:
        raise unknown
    return replace(call, who=place.who, token=""), rows[0]


async def _capture(call: Call, form: Any, sent: Sent, same: Identity) -> UUID | None:
    """Makes the lead, or finds it made, or there already. Answers with its id; None when only leads can tell. Raises Unavailable
    when leads does not answer; a repeat goes on from there."""
    lead = lead_pb2.Lead(
        source=lead_pb2.LEAD_SOURCE_WEB_FORM, source_detail=form["name"], form_id=str(form["id"]),
        source_key=form["lead_source_key"], owner_id=str(form["owner_id"]), landing_page=sent.landing_page,
        referrer=sent.referrer, click_id=sent.click_id,
    )  # fmt: skip
    for name, value in sent.lead.items():
        setattr(lead, name, value)
    if form["campaign_id"] is not None:
        lead.campaign_id = str(form["campaign_id"])
    if form["team_id"] is not None:
        lead.team_id = str(form["team_id"])
    if sent.utm:
        lead.utm.CopyFrom(lead_pb2.UtmParameters(**sent.utm))
    content = same.digest.hex()[:32]
    request = lead_service_pb2.CaptureLeadRequest(
        lead=lead, lead_id=str(same.id), request_id=f"form.{same.id}.{content}",
        answers=[lead_pb2.CapturedAnswer(question=one, answer=text) for one, text in sent.answers],
    )  # fmt: skip
    try:
        made = await call.ask("kehu.leads.v1.LeadService/CaptureLead", request, lead_pb2.Lead)
        return UUID(made.id)
    except Problem as problem:
        if problem.code is not Code.ALREADY_EXISTS:
            raise
        if problem.reason == "ID_TAKEN":
            raise IdempotencyKeyReused from None
        if problem.reason != "IDEMPOTENCY_KEY_REUSED":
            raise
        # The same was sent before, and the form was changed since then: the lead is there as it was made, and lead.captured
        # tells which.
        return None
