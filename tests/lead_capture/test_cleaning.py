"""Leads looked through, repaired, merged, attached; and all of that undone."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.struct_pb2 import Value
from google.type.money_pb2 import Money
from kehu.bulkedits.v1 import bulk_edits_pb2
from kehu.customfields.v1 import custom_fields_pb2
from kehu.duplicates.v1 import duplicates_pb2 as pairs_pb2
from kehu.history.v1 import history_pb2
from kehu.imports.v1 import imports_pb2
from kehu.leads.v1 import (
    cleaning_service_pb2,
    customer_facet_pb2,
    lead_merge_pb2,
    lead_pb2,
    lead_service_pb2,
)
from kehu.valuelists.v1 import value_lists_pb2
from sqlalchemy import text

from chassis.errors import Code, Problem
from chassis.ids import new_id
from chassis.principal import Principal, Reach, Rights
from chassis.shares.entries import PERSON, Grantee
from chassis.testing import EVERYTHING, eventually, refused, somebody
from chassis.wire import from_dict
from customers.customer import Customer
from customers.sharing import WRITE, share_customer
from leads import merging
from leads.lists import remember

from . import merge_model

pytestmark = pytest.mark.asyncio(loop_scope="module")
PHONE = "+8613800138222"


async def as_written(suite: Any, who: Principal, id: str, **columns: str) -> None:
    """What a version that tidied less has left in a lead."""
    async with suite.leads.running.database.transaction(who) as tx:
        for column, value in columns.items():
            await tx.session.execute(
                text(f"UPDATE leads SET {column} = :value WHERE id = :id"), {"value": value, "id": id}
            )


async def merge(suite: Any, who: Principal, id: str, *merged: str, **fields: Any) -> lead_merge_pb2.LeadMerge:
    request = cleaning_service_pb2.MergeLeadsRequest(id=id, merged_ids=merged, **fields)
    return await suite.ask(who, "CleaningService/MergeLeads", request, lead_merge_pb2.LeadMerge)


async def foreseen(
    suite: Any, who: Principal, id: str, *merged: str, **fields: Any
) -> tuple[lead_merge_pb2.LeadMerge, cleaning_service_pb2.PreviewMergeLeadsResponse]:
    """Merges them as the preview says; refused as that is."""
    request = cleaning_service_pb2.PreviewMergeLeadsRequest(id=id, merged_ids=merged, **fields)
    answer = cleaning_service_pb2.PreviewMergeLeadsResponse
    try:
        said = await suite.ask(who, "CleaningService/PreviewMergeLeads", request, answer)
    except Problem as problem:
        with pytest.raises(Problem) as refusal:
            await merge(suite, who, id, *merged, **fields)
        assert vars(refusal.value) == vars(problem)
        raise
    made = await merge(suite, who, id, *merged, **fields)
    now, then = await suite.now(who, id), lead_pb2.Lead()
    then.CopyFrom(said.lead)
    for one in (now, then):
        for name in ("update_time", "touch_time", "reclaim_time"):
            one.ClearField(name)
    assert now == then
    return made, said


async def undo(suite: Any, who: Principal, id: str) -> lead_merge_pb2.LeadMerge:
    request = cleaning_service_pb2.UndoLeadMergeRequest(id=id)
    return await suite.ask(who, "CleaningService/UndoLeadMerge", request, lead_merge_pb2.LeadMerge)


async def attach(suite: Any, who: Principal, id: str, **fields: Any) -> lead_pb2.Lead:
    request = cleaning_service_pb2.AttachLeadRequest(id=id, **fields)
    return await suite.ask(who, "CleaningService/AttachLead", request, lead_pb2.Lead)


async def told(suite: Any, who: Principal, id: str) -> list[str]:
    rows = await suite.leads.running.database.read(
        who, "SELECT subject FROM outbox WHERE record_id = $1::uuid ORDER BY seq", id
    )
    return [row["subject"].rpartition(".leads.")[2] for row in rows]


async def test_what_is_written_is_kept_in_one_way(suite: Any) -> None:
    boss = somebody("tidy")
    lead = await suite.lead(
        boss, name="　张　三", company_name="ＫＥＨＵ（北京）有限公司", phone="0086 138-0013-8222", email="San@Example.COM",
        industry="　ｍａｎｕｆａｃｔｕｒｉｎｇ", region="华东",
    )  # fmt: skip
    assert (lead.name, lead.company_name, lead.phone, lead.email) == (
        "张 三", "KEHU（北京）有限公司", PHONE, "san@example.com",
    )  # fmt: skip
    # The list of customers spells it so; rules go on speaking of names.
    assert (lead.industry, lead.region) == ("Manufacturing", "华东")


async def close_industries(suite: Any, who: Principal) -> None:
    lists = await suite.customers.ask(
        who, "kehu.customers.v1.ValueListService/ListValueLists", value_lists_pb2.ListValueListsRequest(),
        value_lists_pb2.ListValueListsResponse,
    )  # fmt: skip
    industry = next(one for one in lists.value_lists if one.key == "industry")
    changed = value_lists_pb2.UpdateValueListRequest()
    changed.value_list.id = industry.id
    changed.update_mask.paths.append("accepts_others")
    await suite.customers.ask(
        who, "kehu.customers.v1.ValueListService/UpdateValueList", changed, value_lists_pb2.ValueList
    )


async def test_a_closed_list_of_the_customers_holds_for_leads(suite: Any) -> None:
    boss = somebody("closed")
    await close_industries(suite, boss)
    await refused(
        Code.INVALID_ARGUMENT, "VALUE_UNKNOWN", suite.lead(boss, name="A", industry="basket weaving")
    )
    lead = await suite.lead(boss, name="A", industry="制造业")
    assert lead.industry == "制造业"
    # While customers does not tell, nobody is kept from writing.
    remember(suite.leads.running.database, boss.tenant_id, {})
    assert (await suite.lead(boss, name="B", industry="basket weaving")).industry == "basket weaving"


async def test_a_closed_list_that_nobody_has_asked_for_holds_for_files_and_bulk_edits(suite: Any) -> None:
    boss, editor, reader = somebody("closed-files"), somebody("closed-edits"), somebody("closed-previews")
    for one in (boss, editor, reader):
        await close_industries(suite, one)
    content = "Name,Industry\nM,制造业\nW,basket weaving\nO,odds".encode()
    run = await suite.ask(
        boss, "ImportService/CreateImport",
        imports_pb2.CreateImportRequest(record_type="lead", filename="a.csv", content=content), imports_pb2.Import,
    )  # fmt: skip
    assert [one.text for one in run.unknown_values] == ["basket weaving", "odds"]
    meant = imports_pb2.ValueMapping(field="industry", text="basket weaving", value="制造业")
    starting = imports_pb2.StartImportRequest(id=run.id, values=[meant])
    await suite.ask(boss, "ImportService/StartImport", starting, imports_pb2.Import)

    async def ended() -> bool:
        getting = imports_pb2.GetImportRequest(id=run.id)
        run.CopyFrom(await suite.ask(boss, "ImportService/GetImport", getting, imports_pb2.Import))
        return run.state == imports_pb2.IMPORT_STATE_SUCCEEDED

    await eventually(ended)
    assert (run.created_rows, run.refused_rows) == (2, 1)
    there = {one.name: one.industry for one in await suite.leads_of(boss)}
    assert there == {"M": "制造业", "W": "制造业"}
    change = bulk_edits_pb2.BulkChange()
    change.values.CopyFrom(from_dict(Value, {"industry": "basket weaving"}))
    lead = await suite.lead(reader, name="A")
    looking = bulk_edits_pb2.PreviewBulkEditRequest(record_type="lead", ids=[lead.id], change=change)
    shown = await suite.ask(
        reader, "BulkEditService/PreviewBulkEdit", looking, bulk_edits_pb2.PreviewBulkEditResponse
    )
    assert [one.reason for one in shown.records] == ["VALUE_UNKNOWN"]
    lead = await suite.lead(editor, name="A")
    editing = bulk_edits_pb2.CreateBulkEditRequest(record_type="lead", ids=[lead.id], change=change)
    edit = await suite.ask(editor, "BulkEditService/CreateBulkEdit", editing, bulk_edits_pb2.BulkEdit)

    async def edited() -> bool:
        getting = bulk_edits_pb2.GetBulkEditRequest(id=edit.id)
        edit.CopyFrom(
            await suite.ask(editor, "BulkEditService/GetBulkEdit", getting, bulk_edits_pb2.BulkEdit)
        )
        return edit.state == bulk_edits_pb2.BULK_EDIT_STATE_SUCCEEDED

    await eventually(edited)
    assert (edit.changed_records, edit.refused_records) == (0, 1)


async def test_findings_say_what_is_to_be_done(suite: Any) -> None:
    boss = somebody("findings")
    customer = await suite.customer(boss, "北京用友软件有限公司")
    contact = await suite.contact(boss, customer.id, "赵六", "13900139001")
    clean = await suite.lead(boss, name="Nobody else", email="clean@example.com")
    elder = await suite.lead(boss, name="孙七", phone=PHONE)
    younger = await suite.lead(boss, name="孙 七", phone=PHONE, email="sun@example.com")
    there = await suite.lead(boss, name="赵六", phone="139 0013 9001")
    company = await suite.lead(
        boss, name="钱八", company_name="用友软件股份有限公司（北京）", email="q8@example.com"
    )
    lost = await suite.lead(boss, name="Unreachable")
    messy = await suite.lead(boss, name="Wide", email="w@example.com")
    await as_written(suite, boss, messy.id, name="Ｗｉｄｅ", phone="138 0013 8333")
    answer = await suite.findings(boss)
    assert not answer.customers_missing
    found = {one.lead.id: one for one in answer.findings}
    assert clean.id not in found
    assert [(r.field, r.before, r.after) for r in found[messy.id].repairs] == [
        ("name", "Ｗｉｄｅ", "Wide"), ("phone", "138 0013 8333", "+8613800138333"),
    ]  # fmt: skip
    assert found[messy.id].proposal.action == lead_merge_pb2.CLEANING_ACTION_REPAIR
    assert found[elder.id].proposal.action == lead_merge_pb2.CLEANING_ACTION_UNSPECIFIED
    (twin,) = found[younger.id].duplicates
    assert (twin.id, list(twin.reasons)) == (elder.id, ["PHONE", "NAME"])
    proposal = found[younger.id].proposal
    assert (proposal.action, proposal.survivor_id) == (lead_merge_pb2.CLEANING_ACTION_MERGE, elder.id)
    proposal = found[there.id].proposal
    assert (proposal.action, proposal.customer_id, proposal.contact_id) == (
        lead_merge_pb2.CLEANING_ACTION_ATTACH, customer.id, contact.id,
    )  # fmt: skip
    assert [d.customer_id for d in found[company.id].duplicates] == [customer.id]
    assert found[lost.id].proposal.reason == lead_pb2.DISQUALIFY_REASON_INVALID_DATA
    # All of it at once, as it was proposed; a lead that has changed since is left alone.
    steps = [one.proposal for one in answer.findings if one.proposal.action]
    rename = lead_service_pb2.UpdateLeadRequest(lead=lead_pb2.Lead(id=lost.id, notes="rang"))
    await suite.ask(boss, "LeadService/UpdateLead", rename, lead_pb2.Lead)
    outcomes = {one.lead_id: one for one in await suite.clean(boss, *steps)}
    assert outcomes[lost.id].reason == "ETAG_MISMATCH" and not outcomes[lost.id].done
    assert all(one.done for id, one in outcomes.items() if id != lost.id), outcomes
    assert outcomes[younger.id].merge_id
    assert (await suite.now(boss, messy.id)).name == "Wide"
    assert (await suite.now(boss, elder.id)).email == "sun@example.com"
    gone = await suite.now(boss, there.id)
    assert (gone.status, gone.duplicate_of_customer_id) == (
        lead_pb2.LEAD_STATUS_DISQUALIFIED,
        customer.id,
    )
    left = {one.lead.id for one in (await suite.findings(boss)).findings}
    assert left <= {lost.id, company.id}


async def test_findings_tell_of_nothing_that_one_may_not_see(suite: Any) -> None:
    boss = somebody("hiding")
    await suite.customer(boss, "Hidden Ltd", phone=PHONE)
    await suite.lead(boss, name="Hidden", phone=PHONE)
    seller = Principal(
        tenant_id=boss.tenant_id, tenant=boss.tenant, person_id=new_id(), name="S", rights={"leads": Rights(Reach.OWN, Reach.OWN)}
    )  # fmt: skip
    await suite.lead(seller, name="Hidden", phone=PHONE)
    answer = await suite.findings(seller)
    assert answer.customers_missing
    (found,) = answer.findings
    assert (len(found.duplicates), found.hidden_count) == (0, 1)
    assert not (await suite.findings(somebody("rival-of-hiding"))).findings


async def test_merged_leads_are_one_and_come_apart_again(suite: Any) -> None:
    boss = somebody("merging")
    spring, autumn = await suite.campaign(boss, "spring"), await suite.campaign(boss, "autumn")
    utm = lead_pb2.UtmParameters(campaign="spring")
    first = await suite.lead(boss, name="A", external_key="k1", utm=utm, notes="one", tags=["x"])
    second = await suite.lead(
        boss, name="B", phone=PHONE, email="b@example.com", external_key="k2", tags=["y"], notes="two",
        utm=lead_pb2.UtmParameters(campaign="autumn"),
    )  # fmt: skip
    contacted = lead_service_pb2.ContactLeadRequest(id=second.id)
    await suite.ask(boss, "LeadService/ContactLead", contacted, lead_pb2.Lead)

    async def both() -> bool:
        return [(await suite.now(boss, one.id)).campaign_id for one in (first, second)] == [
            spring.id,
            autumn.id,
        ]

    await eventually(both)
    before = [await suite.now(boss, one.id) for one in (first, second)]
    made, said = await foreseen(suite, boss, first.id, second.id, field_choices={"name": second.id})
    told_before = {
        one.field: (list(one.source_ids), [lost.record_id for lost in one.lost]) for one in said.fields
    }
    assert told_before == {
        "name": ([second.id], [first.id]),
        "phone": ([second.id], []),
        "email": ([second.id], []),
        "externalKey": ([first.id], [second.id]),
        "tags": ([first.id, second.id], []),
        "notes": ([first.id, second.id], []),
    }
    assert {one.record_type: one.count for one in said.moved} == {"capture": 1}
    now = await suite.now(boss, first.id)
    assert (now.name, now.phone, now.external_key, list(now.tags)) == ("B", PHONE, "k1", ["x", "y"])
    assert (now.notes, now.status, now.capture_count) == ("one\ntwo", lead_pb2.LEAD_STATUS_CONTACTED, 2)
    assert now.utm == utm, "where somebody first came from is what the elder says"
    gone = await suite.now(boss, second.id)
    assert (gone.status, gone.disqualify_reason, gone.duplicate_of_lead_id) == (
        lead_pb2.LEAD_STATUS_DISQUALIFIED, lead_pb2.DISQUALIFY_REASON_DUPLICATE, first.id,
    )  # fmt: skip
    assert len(await suite.captures(boss, first.id)) == 2 and not await suite.captures(boss, second.id)
    assert (await told(suite, boss, second.id))[-1] == "lead.disqualified"
    assert (await told(suite, boss, first.id))[-2:] == ["lead.updated", "lead.merged"]

    async def members() -> list[str]:
        return [
            one.lead_id for campaign in (spring, autumn) for one in await suite.members(boss, campaign.id)
        ]

    async def moved() -> bool:
        return await members() == [first.id, first.id]

    await eventually(moved)
    await refused(Code.FAILED_PRECONDITION, "LEAD_NOT_MERGEABLE", merge(suite, boss, first.id, second.id))
    # What somebody does afterwards stays.
    update = lead_service_pb2.UpdateLeadRequest(
        lead=lead_pb2.Lead(id=first.id, title="CEO", email="new@example.com")
    )
    await suite.ask(boss, "LeadService/UpdateLead", update, lead_pb2.Lead)
    assert (await undo(suite, boss, made.id)).state == lead_merge_pb2.LEAD_MERGE_STATE_UNDONE
    after = [await suite.now(boss, one.id) for one in (first, second)]
    assert (after[0].title, after[0].email) == ("CEO", "new@example.com")
    for one, was in zip(after, before, strict=True):
        for name in ("etag", "update_time", "touch_time", "title", "email", "reclaim_time"):
            one.ClearField(name)
            was.ClearField(name)
        assert one == was
    assert [len(await suite.captures(boss, one.id)) for one in (first, second)] == [1, 1]

    async def back() -> bool:
        return await members() == [first.id, second.id]

    await eventually(back)
    await refused(Code.FAILED_PRECONDITION, "MERGE_UNDONE", undo(suite, boss, made.id))


async def test_merges_are_undone_in_any_order_though_somebody_works_with_the_lead(suite: Any) -> None:
    boss = somebody("worked-with")
    one, other, third = [await suite.lead(boss, name=name, tags=[name]) for name in "ABC"]

    async def change(id: str, **values: Any) -> None:
        update = lead_service_pb2.UpdateLeadRequest(lead=lead_pb2.Lead(id=id, **values))
        update.update_mask.paths.extend(values)
        await suite.ask(boss, "LeadService/UpdateLead", update, lead_pb2.Lead)

    async def contact(id: str, note: str) -> None:
        request = lead_service_pb2.ContactLeadRequest(id=id, note=note)
        await suite.ask(boss, "LeadService/ContactLead", request, lead_pb2.Lead)

    yuan = Money(currency_code="CNY", units=100)
    await change(other.id, estimated_amount=yuan, region="north")
    await contact(other.id, "theirs")
    first = await merge(suite, boss, one.id, other.id)
    second = await merge(suite, boss, one.id, third.id)
    yuan.units = 200
    await change(one.id, tags=["A", "B", "C", "D"], estimated_amount=yuan)
    await contact(one.id, "ours")
    await undo(suite, boss, first.id)
    now = await suite.now(boss, one.id)
    assert (list(now.tags), now.estimated_amount, now.region) == (["A", "C", "D"], yuan, "")
    assert (now.contact_count, now.status, now.notes) == (1, lead_pb2.LEAD_STATUS_CONTACTED, "ours")
    assert now.first_contact_time == now.last_contact_time
    await undo(suite, boss, second.id)
    assert list((await suite.now(boss, one.id)).tags) == ["A", "D"]
    back = await suite.now(boss, other.id)
    assert (list(back.tags), back.contact_count, back.notes) == (["B"], 1, "theirs")


async def test_fields_of_ones_own_follow_the_lead(suite: Any) -> None:
    boss = somebody("fields")
    field = custom_fields_pb2.CustomField(
        record_type="lead", key="brought_by", label_en="Brought by", reference_type="lead",
        kind=custom_fields_pb2.CUSTOM_FIELD_KIND_REFERENCE,
    )  # fmt: skip
    made = custom_fields_pb2.CreateCustomFieldRequest(custom_field=field)
    create = "kehu.leads.v1.CustomFieldService/CreateCustomField"
    await suite.leads.ask(boss, create, made, custom_fields_pb2.CustomField)
    one, two, three = [await suite.lead(boss, name=name) for name in ("One", "Two", "Three")]
    named = {"brought_by": Value(string_value=two.id)}
    other = await suite.lead(boss, name="Other", custom_fields=named)

    async def now() -> str:
        return (await suite.now(boss, other.id)).custom_fields["brought_by"].string_value

    first = await merge(suite, boss, one.id, two.id)
    assert await now() == one.id
    assert (await told(suite, boss, other.id))[-1] == "lead.updated"
    second = await merge(suite, boss, three.id, one.id)
    assert await now() == three.id
    await undo(suite, boss, second.id)
    await undo(suite, boss, first.id)
    assert await now() == two.id


async def test_merges_that_may_not_be(suite: Any) -> None:
    boss = somebody("no-merge")
    one, other = [await suite.lead(boss, name=name) for name in "AB"]
    rival = somebody("rival-of-no-merge")
    own = Principal(
        tenant_id=boss.tenant_id, tenant=boss.tenant, person_id=new_id(), name="O", rights={"leads": Rights(Reach.OWN, Reach.OWN)}
    )  # fmt: skip
    reader = somebody("no-merge", rights={"leads": Rights(Reach.ALL, Reach.OWN)})
    theirs = await suite.lead(rival, name="R")
    await refused(Code.NOT_FOUND, "NOT_FOUND", foreseen(suite, own, one.id, other.id))
    await refused(Code.NOT_FOUND, "NOT_FOUND", foreseen(suite, boss, one.id, theirs.id))
    await refused(Code.PERMISSION_DENIED, "RECORD_READ_ONLY", foreseen(suite, reader, one.id, other.id))
    await refused(Code.INVALID_ARGUMENT, "MERGE_WITH_ITSELF", foreseen(suite, boss, one.id, one.id))
    for choices, reason in (
        ({"status": one.id}, "FIELD_NOT_WRITABLE"), ({"name": theirs.id}, "INVALID_FIELD"),
    ):  # fmt: skip
        call = foreseen(suite, boss, one.id, other.id, field_choices=choices)
        await refused(Code.INVALID_ARGUMENT, reason, call)
    await refused(Code.ABORTED, "ETAG_MISMATCH", foreseen(suite, boss, one.id, other.id, etag="99"))
    for id in (one.id, other.id):
        assert (await suite.now(boss, id)).etag == "1", "a refused merge changes nothing"
    made = await merge(suite, boss, one.id, other.id, request_id="m1")
    assert await merge(suite, boss, one.id, other.id, request_id="m1") == made
    for who in (rival, own):
        await refused(Code.NOT_FOUND, "NOT_FOUND", undo(suite, who, made.id))
    request = cleaning_service_pb2.GetLeadMergeRequest(id=made.id)
    await refused(
        Code.NOT_FOUND, "NOT_FOUND",
        suite.ask(rival, "CleaningService/GetLeadMerge", request, lead_merge_pb2.LeadMerge),
    )  # fmt: skip
    async with suite.leads.running.database.transaction(boss) as tx:
        await tx.session.execute(text("UPDATE lead_merges SET undo_end_time = now() - interval '1 day'"))
    await refused(Code.FAILED_PRECONDITION, "MERGE_TOO_OLD", undo(suite, boss, made.id))
    listed = await suite.ask(
        boss, "CleaningService/ListLeadMerges", cleaning_service_pb2.ListLeadMergesRequest(filter="state = MERGED"),
        cleaning_service_pb2.ListLeadMergesResponse,
    )  # fmt: skip
    assert [one.id for one in listed.lead_merges] == [made.id]


async def test_of_two_who_merge_each_into_the_other_one_does(suite: Any) -> None:
    boss = somebody("crossing")
    one, other = [await suite.lead(boss, name=name) for name in "AB"]

    async def tried(id: str, merged: str) -> bool:
        try:
            await merge(suite, boss, id, merged)
        except Problem as problem:
            assert problem.reason in ("LEAD_NOT_MERGEABLE", "RECORD_BUSY"), problem
            return False
        return True

    done = await asyncio.gather(*(tried(*pair) for pair in [(one.id, other.id), (other.id, one.id)] * 4))
    assert sum(done) == 1


async def test_a_lead_is_attached_to_a_customer_and_taken_back(suite: Any) -> None:
    boss = somebody("attaching")
    customer = await suite.customer(boss, "用友")
    contact = await suite.contact(boss, customer.id, "A", PHONE)
    campaign = await suite.campaign(boss, "spring")
    lead = await suite.lead(boss, name="A", phone=PHONE, utm=lead_pb2.UtmParameters(campaign="spring"))

    async def member() -> Any:
        return await suite.members(boss, campaign.id)

    await eventually(member)
    gone = await attach(suite, boss, lead.id, customer_id=customer.id, contact_id=contact.id)
    assert (gone.status, gone.duplicate_of_contact_id, gone.customer_id) == (
        lead_pb2.LEAD_STATUS_DISQUALIFIED, contact.id, "",
    )  # fmt: skip
    twice = attach(suite, boss, lead.id, customer_id=customer.id)
    problem = await refused(Code.FAILED_PRECONDITION, "LEAD_NOT_DISQUALIFIABLE", twice)
    assert "attached" in problem.message
    facet = await suite.ask(
        boss, "CustomerFacetService/GetCustomerFacet",
        customer_facet_pb2.GetCustomerFacetRequest(customer_id=customer.id), customer_facet_pb2.CustomerFacet,
    )  # fmt: skip
    assert [one.id for one in facet.attached_leads] == [lead.id] and len(facet.captures) == 1

    async def follows() -> bool:
        (one,) = await suite.members(boss, campaign.id)
        return (one.customer_id, one.contact_id) == (customer.id, contact.id)

    await eventually(follows)
    reopen = lead_service_pb2.ReopenLeadRequest(id=lead.id)
    back = await suite.ask(boss, "LeadService/ReopenLead", reopen, lead_pb2.Lead)
    assert (back.status, back.duplicate_of_customer_id) == (lead_pb2.LEAD_STATUS_NEW, "")
    changes = await suite.ask(
        boss, "HistoryService/ListChanges", history_pb2.ListChangesRequest(record_type="lead", record_id=lead.id),
        history_pb2.ListChangesResponse,
    )  # fmt: skip
    assert any("duplicateOfCustomerId" in str(change) for change in changes.changes)

    async def leaves() -> bool:
        (one,) = await suite.members(boss, campaign.id)
        return (one.lead_id, one.customer_id, one.contact_id) == (lead.id, "", "")

    await eventually(leaves)


async def test_nothing_is_attached_to_what_one_may_not_read(suite: Any) -> None:
    boss = somebody("strangers")
    lead = await suite.lead(boss, name="A")
    theirs = await suite.customer(somebody("rival-of-strangers"), "Theirs")
    customer = await suite.customer(boss, "Ours")
    other = await suite.customer(boss, "Other")
    contact = await suite.contact(boss, other.id, "C", PHONE)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"customer_id": theirs.id}, "CUSTOMER_NOT_FOUND"),
        ({"customer_id": str(new_id())}, "CUSTOMER_NOT_FOUND"),
    ]
    cases.append(({"customer_id": customer.id, "contact_id": contact.id}, "CONTACT_NOT_FOUND"))
    for fields, reason in cases:
        await refused(Code.INVALID_ARGUMENT, reason, attach(suite, boss, lead.id, **fields))
        step = lead_merge_pb2.CleaningStep(
            lead_id=lead.id, action=lead_merge_pb2.CLEANING_ACTION_ATTACH, **fields
        )
        await refused(Code.INVALID_ARGUMENT, reason, suite.clean(boss, step))
    blind = somebody("strangers", rights={"leads": Rights(Reach.ALL, Reach.ALL)})
    await refused(
        Code.INVALID_ARGUMENT, "CUSTOMER_NOT_FOUND", attach(suite, blind, lead.id, customer_id=customer.id)
    )
    # What one may read and not change is shown, and nothing is added to it, as little as by converting.
    reader = somebody("strangers", rights={**EVERYTHING, "customers": Rights(Reach.ALL, Reach.OWN)})
    alike = await suite.lead(boss, name="C", company_name="Other", phone=PHONE)
    # Shared for writing, it is theirs to add to; also when only its contact is like the lead.
    helper = somebody("strangers", rights={**EVERYTHING, "customers": Rights(Reach.ALL, Reach.OWN)})
    async with suite.customers.running.database.transaction(boss) as tx:
        row = await tx.find(Customer, UUID(other.id))
        assert row is not None
        share_customer(tx, row, Grantee(PERSON, helper.person_id), WRITE, None)
    await suite.lead(boss, name="C", company_name="Unlike", phone=PHONE, notes="by its contact")
    for who, proposed in ((reader, set[str]()), (helper, {other.id})):
        findings = (await suite.findings(who, 'companyName = "Unlike"')).findings
        assert {one.proposal.customer_id for one in findings} - {""} == proposed
    for who, proposed in ((reader, ""), (helper, other.id), (boss, other.id)):
        (found,) = (await suite.findings(who, 'companyName = "Other"')).findings
        assert other.id in [twin.customer_id for twin in found.duplicates]
        assert found.proposal.customer_id == proposed
    target = {"customer_id": other.id, "contact_id": contact.id}
    step = lead_merge_pb2.CleaningStep(
        lead_id=alike.id, action=lead_merge_pb2.CLEANING_ACTION_ATTACH, **target
    )
    await refused(Code.INVALID_ARGUMENT, "CUSTOMER_NOT_FOUND", attach(suite, reader, alike.id, **target))
    await refused(Code.INVALID_ARGUMENT, "CUSTOMER_NOT_FOUND", suite.clean(reader, step))
    assert (await attach(suite, boss, alike.id, **target)).duplicate_of_customer_id == other.id
    own = somebody("strangers", rights={"leads": Rights(Reach.OWN, Reach.OWN)})
    await refused(Code.NOT_FOUND, "NOT_FOUND", attach(suite, own, lead.id, customer_id=customer.id))
    repair = lead_merge_pb2.CleaningStep(lead_id=lead.id, action=lead_merge_pb2.CLEANING_ACTION_REPAIR)
    await refused(Code.NOT_FOUND, "NOT_FOUND", suite.clean(own, repair))
    await refused(Code.NOT_FOUND, "NOT_FOUND", suite.clean(somebody("rival-of-strangers"), repair))
    for action in ("MERGE", "ATTACH", "DISQUALIFY"):
        step = lead_merge_pb2.CleaningStep(
            lead_id=lead.id, action=lead_merge_pb2.CleaningAction.Value(f"CLEANING_ACTION_{action}")
        )
        await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", suite.clean(boss, step))
    assert (await suite.now(boss, lead.id)).etag == "1"


async def test_all_leads_are_swept_for_those_kept_twice(suite: Any) -> None:
    boss, kehu = somebody("sweeping"), "kehu.leads.v1.DuplicatePairService/"

    async def swept() -> pairs_pb2.DuplicateSweep:
        asked: Any = pairs_pb2.CreateDuplicateSweepRequest(record_type="lead")
        sweep = await suite.ask(
            boss, "DuplicateSweepService/CreateDuplicateSweep", asked, pairs_pb2.DuplicateSweep
        )
        asked = pairs_pb2.GetDuplicateSweepRequest(id=sweep.id)

        async def over() -> bool:
            nonlocal sweep
            sweep = await suite.ask(
                boss, "DuplicateSweepService/GetDuplicateSweep", asked, pairs_pb2.DuplicateSweep
            )
            return sweep.state == pairs_pb2.DUPLICATE_SWEEP_STATE_SUCCEEDED

        await eventually(over, 60)
        return sweep

    async def pairs(state: str = "OPEN", who: Principal = boss) -> set[frozenset[str]]:
        asked = pairs_pb2.ListDuplicatePairsRequest(
            record_type="lead", state=pairs_pb2.DuplicatePairState.Value(f"DUPLICATE_PAIR_STATE_{state}")
        )
        page = await suite.leads.ask(
            who, kehu + "ListDuplicatePairs", asked, pairs_pb2.ListDuplicatePairsResponse
        )
        return {frozenset((pair.first.id, pair.second.id)) for pair in page.duplicate_pairs}

    async def like(id: str) -> set[str]:
        asked = cleaning_service_pb2.FindLeadDuplicatesRequest(lead_id=id)
        found = await suite.ask(
            boss, "CleaningService/FindLeadDuplicates", asked, cleaning_service_pb2.LeadDuplicates
        )
        return {one.id for one in found.duplicates}

    one = (await suite.lead(boss, name="张三", company_name="深圳市华为技术开发有限公司", phone=PHONE)).id
    other = (await suite.lead(boss, name="张 三", company_name="华为技木开发")).id
    phone = (await suite.lead(boss, name="李四", phone=PHONE)).id
    company = (await suite.lead(boss, company_name="华为技术开发（上海）有限公司")).id
    gone = (await suite.lead(boss, name="王五", phone=PHONE)).id
    no_use: Any = lead_service_pb2.DisqualifyLeadRequest(
        id=gone, reason=lead_pb2.DISQUALIFY_REASON_INVALID_DATA
    )
    await suite.ask(boss, "LeadService/DisqualifyLead", no_use, lead_pb2.Lead)
    done = await swept()
    # Each lead has the pairs that the search for it finds; who is disqualified has none.
    found = await pairs()
    assert done.total_records == 4 and done.found_pairs == len(found)
    for id in (one, other, phone, company):
        assert {next(iter(pair - {id})) for pair in found if id in pair} == await like(id)
    assert {frozenset((one, other)), frozenset((one, phone)), frozenset((one, company))} <= found
    # Set aside, they are not proposed, and neither is what takes one of them in.
    aside = pairs_pb2.SetAsideDuplicatePairRequest(record_type="lead", record_ids=[one, phone])
    await suite.leads.ask(boss, kehu + "SetAsideDuplicatePair", aside, pairs_pb2.DuplicatePair)
    assert phone not in await like(one) and one not in await like(phone)
    # Of what was merged nobody says that it is another, whether a sweep has found it or not.
    strange = (await suite.lead(boss, company_name="宏图书店")).id
    early = await merge(suite, boss, strange, company)
    same = pairs_pb2.SetAsideDuplicatePairRequest(record_type="lead", record_ids=[strange, company])
    await refused(
        Code.FAILED_PRECONDITION, "DUPLICATE_PAIR_MERGED",
        suite.leads.ask(boss, kehu + "SetAsideDuplicatePair", same, pairs_pb2.DuplicatePair),
    )  # fmt: skip
    await undo(suite, boss, early.id)
    merged = await merge(suite, boss, other, one)
    assert await pairs("MERGED") == {frozenset((one, other))} and await pairs("SET_ASIDE") == {
        frozenset((other, phone))
    }
    assert phone not in await like(other)
    assert (await swept()).set_aside_pairs == 1
    await undo(suite, boss, merged.id)
    assert await pairs("MERGED") == set() and await pairs("SET_ASIDE") == {frozenset((one, phone))}
    assert frozenset((one, other)) in await pairs()
    theirs = somebody("sweeping", rights={"leads": Rights(Reach.OWN, Reach.OWN)})
    assert await pairs(who=theirs) == set() and await pairs("SET_ASIDE", theirs) == set()
    await refused(
        Code.NOT_FOUND, "NOT_FOUND",
        suite.leads.ask(theirs, kehu + "SetAsideDuplicatePair", aside, pairs_pb2.DuplicatePair),
    )  # fmt: skip
    # What too many companies are called tells nothing, in whatever form.
    forms = ("有限公司", "股份有限公司", "有限责任公司")
    for place in ("北京", "上海", "深圳", "广州", "成都", "武汉", "杭州", "南京"):
        await asyncio.gather(*(suite.lead(boss, company_name=f"{place}招商银行{form}") for form in forms))
    alike = [f"华东重型机械{letter}" for letter in "甲乙丙丁戊己庚辛壬癸子丑寅卯辰巳午未申酉戌亥金木"]
    await asyncio.gather(*(suite.lead(boss, company_name=name) for name in alike))
    # The two that were alike while one was merged into the other are so no more.
    before = await pairs() - {frozenset((other, phone))}
    done = await swept()
    assert await pairs() == before and done.found_pairs == len(before)
    told = {(one.reason, one.value) for one in done.frequent_values}
    assert told == {("CORE_NAME", "招商银行"), *(("SIMILAR_NAME", name) for name in alike)}
    # Those on whom nobody works neither count nor take the place of others.
    many = [(await suite.lead(boss, name="赵六", company_name="宏远贸易行")).id for _ in range(24)]
    for id in many[:22]:
        no_use.id = id
        await suite.ask(boss, "LeadService/DisqualifyLead", no_use, lead_pb2.Lead)
    done = await swept()
    assert await pairs() == before | {frozenset(many[22:])}
    assert {(one.reason, one.value) for one in done.frequent_values} == told


@pytest.mark.timeout(300)
async def test_whatever_happens_what_went_into_a_lead_comes_out_as_it_went(suite: Any) -> None:
    await merge_model.run(suite)


@pytest.mark.timeout(300)
async def test_the_model_notices_an_undoing_that_forgets_a_field(
    suite: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test can fail: the survivor keeps the others' tags."""
    right = merging.put_back

    def forgetful(row: Any, kept: Any) -> Any:
        return right(row, {name: one for name, one in kept.items() if name != "tags"})

    monkeypatch.setattr(merging, "put_back", forgetful)
    with pytest.raises(AssertionError):
        await merge_model.run(suite)
