"""Rules that speak of fields which the tenant has added: asked like all others, and about nothing when the field is gone."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from kehu.customfields.v1 import custom_fields_pb2 as fields
from kehu.leads.v1 import (
    assignment_pb2,
    assignment_service_pb2,
    cadence_pb2,
    lead_pb2,
    lead_service_pb2,
    score_pb2,
)

from chassis.errors import Code
from chassis.testing import refused
from chassis.wire import from_dict
from leads.handling import hold
from leads.pool import reclaim_idle

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]
Make = Callable[[], Awaitable[Any]]
SEATS = "customFields.seats >= 100"


async def add(c: Any, key: str, kind: str, **more: Any) -> fields.CustomField:
    said = {"recordType": "lead", "key": key, "labelEn": key, "kind": f"CUSTOM_FIELD_KIND_{kind}", **more}
    request = fields.CreateCustomFieldRequest(custom_field=from_dict(fields.CustomField, said))
    return await c.ask("CustomFieldService/CreateCustomField", request, fields.CustomField)


async def archive(c: Any, field: fields.CustomField) -> None:
    request = fields.UpdateCustomFieldRequest(custom_field=fields.CustomField(id=field.id, archived=True))
    await c.ask("CustomFieldService/UpdateCustomField", request, fields.CustomField)


async def lead(c: Any, seats: int) -> lead_pb2.Lead:
    made = from_dict(lead_pb2.Lead, {"name": f"With {seats} seats", "customFields": {"seats": seats}})
    return await c.verb("CreateLead", lead_service_pb2.CreateLeadRequest(lead=made))


async def test_rules_ask_about_fields_of_the_tenants_own(company: Make) -> None:
    c = await company()
    ann, bob = [await c.person(name) for name in ("Ann", "Bob")]
    problem = await refused(Code.INVALID_ARGUMENT, "FILTER_INVALID", c.rule("Early", ann, condition=SEATS))
    assert problem.violations[0].field == "rule.condition" and "seats" in problem.message
    field = await add(c, "seats", "NUMBER", filterable=True)
    await add(c, "hidden", "TEXT")
    await refused(
        Code.INVALID_ARGUMENT, "FILTER_INVALID", c.rule("x", ann, condition="customFields.hidden = x")
    )
    rule = await c.rule("Large", ann, condition=SEATS, position=1)
    await c.rule("Others", bob, position=2)
    await c.score_rule(SEATS, 30)
    phone = cadence_pb2.CadenceStep(channel=cadence_pb2.CONTACT_CHANNEL_PHONE)
    cadence = await c.cadence(phone, automatic=True, condition=SEATS)
    large, small = await lead(c, 250), await lead(c, 20)
    await c.settled()
    assert await c.owners([large, small]) == ["Ann", "Bob"]
    assert [(one.score, one.cadence_id) for one in (large, small)] == [(30, cadence.id), (0, "")]
    # A value that changes counts like any other change.
    change = lead_service_pb2.UpdateLeadRequest(
        lead=small, update_mask=FieldMask(paths=["custom_fields.seats"])
    )
    change.lead.etag = ""
    change.lead.custom_fields["seats"].number_value = 100
    assert (await c.verb("UpdateLead", change)).score == 30

    # The pool's rule asks the table.
    await c.handling(reclaim_idle_days=7, reclaim_condition="customFields.seats = 250")
    long_ago = datetime.now(UTC) - timedelta(days=9)
    await c.settled()
    await c.execute("UPDATE leads SET touch_time = :p0, reclaim_time = :p0", long_ago)
    acting = c.boss.acting_as("leads")

    async def taken_back() -> list[bool]:
        async with c.leads.running.database.transaction(acting) as tx:
            await reclaim_idle(tx, await hold(tx))
        return [not (await c.now(one.id)).owner_id for one in (large, small)]

    assert await taken_back() == [True, False]

    # The field goes: what asks about it is about no lead, and everything else goes on.
    await archive(c, field)
    assert await taken_back() == [True, False]
    another = await c.lead()
    await c.settled()
    assert await c.owners([another]) == ["Bob"]
    (decision,) = (
        await c.ask(
            "LeadService/AssignLeadsByRules",
            lead_service_pb2.AssignLeadsByRulesRequest(ids=[large.id]),
            lead_service_pb2.AssignLeadsByRulesResponse,
        )
    ).decisions
    assert decision.rule_name == "Others"
    request = lead_service_pb2.GetLeadScoreRequest(id=small.id)
    assert (await c.ask("LeadService/GetLeadScore", request, score_pb2.LeadScore)).outdated
    # The rule can still be put aside, and not be given such a condition again.
    rule.active = False
    update = assignment_service_pb2.UpdateAssignmentRuleRequest(
        rule=rule, update_mask=FieldMask(paths=["active", "condition"])
    )
    aside = await c.ask("AssignmentService/UpdateAssignmentRule", update, assignment_pb2.AssignmentRule)
    assert not aside.active
    update.rule.etag, update.rule.condition = "", SEATS + " AND score > 1"
    again = c.ask("AssignmentService/UpdateAssignmentRule", update, assignment_pb2.AssignmentRule)
    await refused(Code.INVALID_ARGUMENT, "FILTER_INVALID", again)
