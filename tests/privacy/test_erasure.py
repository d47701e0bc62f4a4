"""All data about one person: handed out whole, and erased so that nothing of it is found in any table of any database."""

import io
import json
import zipfile
from typing import Any
from uuid import UUID, uuid4

import pytest
from kehu.customers.v1 import privacy_service_pb2
from kehu.exports.v1 import exports_pb2

from chassis.errors import Code, Problem, Unavailable
from chassis.ids import new_id
from chassis.principal import Principal, Reach, Rights
from chassis.rpc.face import messages_of
from chassis.testing import eventually, refused, somebody
from customers.erasure import JOB
from customers.rpc import privacy as privacy_rpc
from customers.service import SERVICE as CUSTOMERS

from .conftest import House

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]
ALL = {"contact": "contactId", "lead": "leadId", "customer": "customerId"}


_MANY_TOUCHES = (
    "INSERT INTO lead_touches SELECT made.* FROM (SELECT * FROM lead_touches WHERE lead_id = $1 LIMIT 1) t,"
    " generate_series(1, $2) n, jsonb_populate_record(NULL::lead_touches, to_jsonb(t)"
    " || jsonb_build_object('id', gen_random_uuid(), 'note', '', 'step', n)) made"
)


class Somebody:
    """Who they are: unlike anybody else."""

    def __init__(self) -> None:
        number = uuid4().int % 10**8
        self.name = f"欧阳{chr(0x8000 + number % 2000)}{chr(0x7000 + number % 3000)}"
        self.phone = f"+86139{number:08d}"
        self.email = f"ouyang{number}@person.example"
        self.wechat = f"wx_{number}"
        self.street = f"幸福路{number}号"
        self.notes = f"likes tea number {number}"
        self.title = f"Head of {number}"
        self.told = [
            f"{what} {number}"
            for what in ("his wife is ill", "barred since", "thanks for the vase", "cousin of")
        ]

    @property
    def words(self) -> list[str]:
        """What may stand nowhere afterwards."""
        digits = self.phone.removeprefix("+86")
        return [
            self.name, digits, f"{digits[:3]}-{digits[3:7]}-{digits[7:]}", self.email, self.wechat, self.street, self.notes,
            self.title, *self.told,
        ]  # fmt: skip


async def _own_fields(house: House) -> None:
    """The company keeps more of its own on records about persons, and on some that only mention them."""
    text = {"key": "own", "labelEn": "Own", "kind": "CUSTOM_FIELD_KIND_TEXT", "filterable": True}
    for domain, kind in (
        ("sales", "activity"), ("sales", "order"), ("servicedesk", "ticket"), ("marketing", "campaign")
    ):  # fmt: skip
        field = {"customField": {"recordType": kind, **text}}
        await house.ask(f"{domain}.CustomFieldService/CreateCustomField", field)


async def _known(house: House, it: Somebody) -> dict[str, str]:
    """Everything that a company may know of a person, in every service; the ids."""
    ids: dict[str, str] = {}
    lead = {
        "name": it.name, "companyName": "北京用友", "phone": it.phone, "email": it.email, "title": it.title,
        "imAccount": it.wechat, "address": it.street, "notes": it.notes,
    }  # fmt: skip
    ids["lead"] = (await house.ask("leads.LeadService/CreateLead", {"lead": lead, "requestId": uuid4().hex}))[
        "id"
    ]
    step = {"channel": "CONTACT_CHANNEL_PHONE"}
    cadence = {"cadence": {"name": "First", "active": True, "steps": [step, step]}}
    begun = await house.ask("leads.CadenceService/CreateCadence", cadence)
    await house.ask("leads.LeadService/StartLeadCadence", {"id": ids["lead"], "cadenceId": begun["id"]})
    for note in (it.told[0], "no answer"):
        reported = {"id": ids["lead"], "outcome": "CADENCE_OUTCOME_REACHED", "note": note}
        await house.ask("leads.LeadService/ReportCadenceStep", reported)
    own = {"customFields": {"own": f"speaks: {it.name}, {it.phone}"}}
    campaign = {"campaign": {"name": "Spring", "channel": "CAMPAIGN_CHANNEL_EMAIL", **own}}
    ids["campaign"] = (await house.ask("marketing.CampaignService/CreateCampaign", campaign))["id"]
    member = {"campaignId": ids["campaign"], "leadId": ids["lead"], "note": f"{it.name} wants to know more"}
    await house.ask("marketing.CampaignMemberService/CreateCampaignMember", {"campaignMember": member})
    done = await house.ask(
        "leads.LeadService/ConvertLead", {"id": ids["lead"], "opportunity": {"name": f"{it.name} 的商机"}}
    )
    assert done["state"] == "CONVERSION_STATE_SUCCEEDED", done
    ids |= {
        "customer": done["customerId"],
        "contact": done["contactId"],
        "opportunity": done["opportunityId"],
    }
    contact = {
        "id": ids["contact"], "notes": it.notes, "birthday": {"year": 1988, "month": 3, "day": 4},
        "addresses": [{"address": {"street": it.street, "city": "北京"}, "label": "home"}],
        "accounts": [{"account": it.wechat, "label": "wechat"}], "title": it.title,
    }  # fmt: skip
    update = {"contact": contact, "requestId": uuid4().hex}
    await house.ask("customers.ContactService/UpdateContact", update)
    changed = {"contact": {"id": ids["contact"], "notes": f"{it.notes}, and coffee"}}
    await house.ask("customers.ContactService/UpdateContact", changed)
    twin = {"customerId": ids["customer"], "displayName": it.name, "emails": [{"address": it.email}]}
    ids["twin"] = (await house.ask("customers.ContactService/CreateContact", {"contact": twin}))["id"]
    await house.ask(
        "customers.MergeService/MergeContacts", {"id": ids["contact"], "mergedIds": [ids["twin"]]}
    )
    gone = await house.ask("customers.ContactService/CreateContact", {"contact": twin})
    ids["trashed"] = gone["id"]
    await house.ask("customers.ContactService/DeleteContact", {"id": gone["id"]})
    due = "2026-12-01T09:00:00Z"
    activity = {
        "subject": f"Call {it.name}", "kind": "ACTIVITY_KIND_CALL", "dueTime": due, "customerId": ids["customer"],
        "contactId": ids["contact"], "description": f"ask for {it.notes} at {it.phone}", "customFields": {"own": it.title},
    }  # fmt: skip
    ids["activity"] = (await house.ask("sales.ActivityService/CreateActivity", {"activity": activity}))["id"]
    product = {"product": {"name": f"Pump {uuid4()}", "listPrice": {"currencyCode": "CNY", "units": "7"}}}
    ids["product"] = (await house.ask("sales.ProductService/CreateProduct", product))["id"]
    digits = it.phone.removeprefix("+86")
    spelled = f"{digits[:3]}-{digits[3:7]}-{digits[7:]}"
    order = {
        "customerId": ids["customer"], "contactId": ids["contact"], "lines": [{"productId": ids["product"], "quantity": "2"}],
        "deliveryAddress": f"{it.street}, {it.name} {spelled}", "customFields": {"own": it.notes},
    }  # fmt: skip
    ids["order"] = (await house.ask("sales.OrderService/CreateOrder", {"order": order, "place": True}))["id"]
    ticket = {
        "subject": f"{it.name}: it leaks", "description": it.notes, "customerId": ids["customer"], "contactId": ids["contact"],
        "requesterName": it.name, "requesterPhone": it.phone, "requesterEmail": it.email, "customFields": {"own": it.wechat},
    }  # fmt: skip
    ids["ticket"] = (await house.ask("servicedesk.TicketService/CreateTicket", {"ticket": ticket}))["id"]
    comment = {
        "id": ids["ticket"],
        "kind": "COMMENT_KIND_CUSTOMER_MESSAGE",
        "body": f"Call me, {it.phone}",
    }
    await house.ask("servicedesk.TicketService/AddTicketComment", comment)
    for domain, kind, said in (
        ("sales", "activity", f"{it.name} was kind"), ("sales", "product", f"{it.email} asks for it"),
        ("marketing", "campaign", f"{it.name} speaks, {it.phone}"),
    ):  # fmt: skip
        note = {"recordType": kind, "recordId": ids[kind], "text": said}
        await house.ask(f"{domain}.NoteService/CreateNote", {"note": note})
    consumer = {
        "kind": "CUSTOMER_KIND_PERSON", "displayName": it.name, "phone": it.phone, "notes": it.notes, "tags": ["legal_hold"],
        "address": {"street": it.street},
    }  # fmt: skip
    ids["consumer"] = (await house.ask("customers.CustomerService/CreateCustomer", {"customer": consumer}))[
        "id"
    ]
    await house.ask("customers.PartnerService/CreatePartner", {
        "partner": {"customerId": ids["consumer"], "type": "other", "notes": it.notes},
    })  # fmt: skip
    bought = {
        "customerId": ids["consumer"], "lines": [{"productId": ids["product"], "quantity": "1"}], "notes": it.notes,
        "deliveryAddress": it.street,
    }  # fmt: skip
    ids["bought"] = (await house.ask("sales.OrderService/CreateOrder", {"order": bought, "place": True}))[
        "id"
    ]
    card = {"card": {"customerId": ids["consumer"]}}
    ids["card"] = (await house.ask("customers.MembershipService/CreateMembershipCard", card))["id"]
    given = {"id": ids["card"], "points": "5", "reason": it.told[2], "requestId": uuid4().hex}
    await house.ask("customers.PointsService/AdjustPoints", given)
    await house.ask(
        "customers.MembershipService/BlockMembershipCard", {"id": ids["card"], "reason": it.told[1]}
    )
    # A company of one, under the same number.
    company = {"displayName": "One-man company", "phones": [{"number": "010-87654321"}, {"number": it.phone}]}
    ids["company"] = (await house.ask("customers.CustomerService/CreateCustomer", {"customer": company}))[
        "id"
    ]
    related = {
        "type": "RELATION_TYPE_PARTNER", "fromCustomerId": ids["consumer"], "toCustomerId": ids["company"], "notes": it.told[3],
    }  # fmt: skip
    relation = await house.ask("customers.RelationService/CreateCustomerRelation", {"relation": related})
    ids["relation"] = relation["id"]
    file = f"Name,Phone,Email\n{it.name},{it.phone},not an address\n".encode()
    sent = {"recordType": "lead", "filename": "a.csv", "content": file}
    for start in (True, False):
        request, answer = messages_of("kehu.leads.v1.ImportService/CreateImport")
        made: Any = await house.parts["leads"].ask(
            house.who, "kehu.leads.v1.ImportService/CreateImport",
            request(record_type=sent["recordType"], filename=sent["filename"], content=file + (b"" if start else b"\n")),
            answer,
        )  # fmt: skip
        if start:
            await house.ask("leads.ImportService/StartImport", {"id": made.id, "mode": "IMPORT_MODE_CREATE"})
            ids["import"] = made.id

            async def ended() -> bool:
                read = await house.ask("leads.ImportService/GetImport", {"id": ids["import"]})
                return read["state"] == "IMPORT_STATE_SUCCEEDED"

            await eventually(ended, 40)
        else:
            ids["waiting import"] = made.id
    return ids


async def _erased(house: House, id: str) -> dict[str, Any]:
    found: dict[str, Any] = {}

    async def ended() -> bool:
        nonlocal found
        found = await house.ask("customers.PrivacyService/GetErasure", {"id": id})
        return found["state"] == "ERASURE_STATE_SUCCEEDED"

    await eventually(ended, 120)
    return found


async def _exported(house: House, said: dict[str, Any], who: Principal | None = None) -> dict[str, Any]:
    """The files of the ZIP by their names."""
    parts = await house.parts["customers"].parts(
        who or house.who, "kehu.customers.v1.PrivacyService/CreatePersonExport",
        privacy_service_pb2.CreatePersonExportRequest(**said), exports_pb2.ExportPart,
    )  # fmt: skip
    assert parts[0].filename.endswith(".zip") and parts[0].content_type == "application/zip"
    with zipfile.ZipFile(io.BytesIO(b"".join(part.content for part in parts))) as packed:
        assert packed.testzip() is None
        return {name: json.loads(packed.read(name)) for name in packed.namelist()}


async def test_nothing_of_a_person_is_found_after_their_erasure(house: House) -> None:
    it, other = Somebody(), Somebody()
    await _own_fields(house)
    ids = await _known(house, it)
    others = await _known(house, other)
    await house.at_rest()
    # More than are read at once, and than are told at once where all are.
    await house.written("leads", _MANY_TOUCHES, UUID(ids["lead"]), 1_100)
    before = await house.places(it.words)
    assert len({place.partition(":")[0] for place in before}) > 20, before

    files = await _exported(house, {"record_type": "contact", "record_id": ids["contact"]})
    manifest = files.pop("manifest.json")
    assert manifest["complete"] and manifest["files"] == {name: len(rows) for name, rows in files.items()}
    held = {name: {row["id"] for row in rows} for name, rows in files.items()}
    assert held["leads/lead.json"] >= {ids["lead"]}
    assert held["customers/contact.json"] >= {ids["contact"], ids["twin"], ids["trashed"]}
    assert held["customers/customer.json"] == {ids["consumer"]}
    assert held["sales/order.json"] == {ids["order"], ids["bought"]}
    assert (
        held["servicedesk/ticket.json"] == {ids["ticket"]}
        and len(files["servicedesk/ticket_comments.json"]) == 1
    )
    assert {"sales/opportunity.json", "sales/activity.json", "marketing/campaign_member.json"} <= set(files)
    (ticket,), (call,) = files["servicedesk/ticket.json"], files["sales/activity.json"]
    assert ticket["custom_fields"] == {"own": it.wechat} and call["custom_fields"] == {"own": it.title}
    assert [note["text"] for note in files["sales/note.json"]] == [f"{it.name} was kind"]
    told = json.dumps(files, ensure_ascii=False)
    assert all(word in told for word in (it.name, it.phone, it.email, it.wechat, it.street, it.notes))
    assert not any(word in told for word in other.words)
    assert len(held["leads/lead_touches.json"]) == 1_102
    assert held["customers/card.json"] == {ids["card"]} and held["customers/relation.json"] == {
        ids["relation"]
    }
    assert [(row["member"], row["reason"]) for row in files["customers/points_transactions.json"]] == [
        (5, it.told[2])
    ]
    assert files["customers/customer.json"][0]["value"]["now"]["order_count"] == 1
    history = files["customers/contact.json"][0]["history"]
    assert history

    # They would only take time from here on.
    await house.written(
        "leads", "DELETE FROM lead_touches WHERE note = '' AND lead_id = $1", UUID(ids["lead"])
    )
    wanted = {"recordType": "contact", "recordId": ids["contact"]}
    preview = await house.ask("customers.PrivacyService/PreviewErasure", wanted)
    assert {"OPEN_ORDER", "OPEN_OPPORTUNITY", "OPEN_TICKET", "LEGAL_HOLD"} <= set(preview["notices"])
    assert await house.places(it.words) == before, "looking changes nothing"

    asked = {
        "erasure": {**wanted, "basis": "ERASURE_BASIS_REQUEST", "reference": "DSR-17"},
        "requestId": uuid4().hex,
    }
    begun = await house.ask("customers.PrivacyService/CreateErasure", asked)
    done = await _erased(house, begun["id"])
    assert await house.places(it.words) == []
    assert (await house.ask("customers.PrivacyService/CreateErasure", asked))["id"] == begun["id"]

    # What there is of others is untouched, and business stays.
    theirs = {other.name, other.phone, other.email, other.wechat, other.street, other.notes, other.title}
    assert {place.partition(": ")[2] for place in await house.places([*theirs])} == theirs
    order = await house.ask("sales.OrderService/GetOrder", {"id": ids["order"]})
    assert order["customerName"] == "北京用友" and order["total"]["units"] == "14"
    bought = await house.ask("sales.OrderService/GetOrder", {"id": ids["bought"]})
    assert (bought["customerName"], bought.get("deliveryAddress", "")) == ("-", "")
    company = await house.ask("customers.CustomerService/GetCustomer", {"id": ids["company"]})
    assert [one["number"] for one in company["phones"]] == ["+861087654321"]
    for method, id in (("ContactService/GetContact", "contact"), ("CustomerService/GetCustomer", "consumer")):
        await _gone(house, f"customers.{method}", ids[id])
    assert (await house.ask("leads.LeadService/GetLead", {"id": ids["lead"]}))["name"] == "-"
    for id in ("contact", "lead", "customer"):
        assert await house.ask(
            f"{'leads' if id == 'lead' else 'customers'}.{id.capitalize()}Service/Get{id.capitalize()}",
            {"id": others[id]},
        )

    # The report says what became of it, and nothing of whom.
    reports = {one["service"]: one for one in done["reports"]}
    assert set(reports) == {
        "analytics",
        "leads",
        "marketing",
        "sales",
        "servicedesk",
        "customers",
        "notifications",
        "bus",
    }
    assert all(one["done"] for one in reports.values())
    kept = {(one["recordType"], one.get("keptFor", "")) for one in reports["sales"]["records"]}
    assert ("order", "ACCOUNTING_DUTY") in kept and ("outbox", "COPY") in kept
    assert set(done["notices"]) >= {"OPEN_ORDER", "LEGAL_HOLD"}
    assert not any(word in json.dumps(done, ensure_ascii=False) for word in it.words)
    asked_of = {"recordType": "erasure", "recordId": begun["id"]}
    ended, *_ = (await house.ask("customers.HistoryService/ListChanges", asked_of))["changes"]
    assert ("state", "RUNNING", "SUCCEEDED") in {
        (one["field"], one.get("oldValue"), one.get("newValue")) for one in ended["fields"]
    }
    assert ended["origin"] == "CHANGE_ORIGIN_JOB"
    events = await _told(house, "person.erased")
    assert [event["erasureId"] for event in events] == [begun["id"]]
    assert ids["contact"] in events[0]["contactIds"] and ids["lead"] in events[0]["leadIds"]
    assert events[0]["customerIds"] == [ids["consumer"]]
    log = await house.ask("customers.ExportService/ListExports", {"filter": 'recordType = "person"'})
    assert [(one["state"], one["ownerId"]) for one in log["exports"]] == [
        ("EXPORT_STATE_SUCCEEDED", str(house.who.person_id))
    ]


async def _gone(house: House, method: str, id: str) -> None:
    with pytest.raises(Problem) as problem:
        await house.ask(method, {"id": id})
    assert problem.value.code is Code.NOT_FOUND


async def _told(house: House, what: str) -> list[dict[str, Any]]:
    rows = await house.parts["customers"].running.database.read(
        house.who,
        "SELECT convert_from(data, 'UTF8')::jsonb AS data FROM outbox WHERE subject LIKE '%' || $1",
        what,
    )
    return [row["data"] for row in rows]


async def _thrown_away(house: House, word: str) -> dict[str, str]:
    """A company in the trash, with whatever a company may know of it; the ids. All texts of it have the word in them."""

    async def made(method: str, said: dict[str, Any]) -> str:
        return (await house.ask(method, said)).get("id", "")

    customer = {
        "displayName": f"{word} GmbH", "needs": f"wants {word}", "email": f"a@{word}.example", "tags": [f"tag {word}"],
    }  # fmt: skip
    ids = {"customer": await made("customers.CustomerService/CreateCustomer", {"customer": customer})}
    twin = {"displayName": f"Twin of {word}", "notes": f"twin {word}", "email": f"b@{word}.example"}
    ids["twin"] = await made("customers.CustomerService/CreateCustomer", {"customer": twin})
    ids["stays"] = await made(
        "customers.CustomerService/CreateCustomer", {"customer": {"displayName": "It stays"}}
    )
    for name in ("contact", "alias", "earlier"):
        contact = {
            "customerId": ids["twin" if name == "alias" else "customer"], "displayName": f"{name} {word}",
            "emails": [{"address": f"{name}@{word}.example"}], "notes": f"{name} {word}",
        }  # fmt: skip
        ids[name] = await made("customers.ContactService/CreateContact", {"contact": contact})
    merge = {"id": ids["customer"], "mergedIds": [ids["twin"]], "fieldChoices": {"displayName": ids["twin"]}}
    ids["merge"] = await made("customers.MergeService/MergeCustomers", merge)
    await made("customers.MergeService/MergeContacts", {"id": ids["contact"], "mergedIds": [ids["alias"]]})
    await house.ask("customers.ContactService/DeleteContact", {"id": ids["earlier"]})
    relation = {
        "type": "RELATION_TYPE_PARTNER", "fromCustomerId": ids["customer"], "toCustomerId": ids["stays"], "notes": f"bond {word}",
    }  # fmt: skip
    await made("customers.RelationService/CreateCustomerRelation", {"relation": relation})
    partner = {"customerId": ids["customer"], "type": "other", "notes": f"terms {word}"}
    await made("customers.PartnerService/CreatePartner", {"partner": partner})
    ids["card"] = await made(
        "customers.MembershipService/CreateMembershipCard", {"card": {"customerId": ids["customer"]}}
    )
    given = {"id": ids["card"], "points": "5", "reason": f"gift {word}", "requestId": uuid4().hex}
    await made("customers.PointsService/AdjustPoints", given)
    barred = {"id": ids["card"], "reason": f"barred {word}"}
    await made("customers.MembershipService/BlockMembershipCard", barred)
    for record in ("customer", "contact"):
        note = {"recordType": record, "recordId": ids[record], "text": f"note {word}"}
        await made("customers.NoteService/CreateNote", {"note": note})
    file = f"Name,E-mail,Website\nx,a@{word}.example,https://{word}.example\n".encode()
    request, answer = messages_of("kehu.customers.v1.ImportService/CreateImport")
    sent: Any = await house.parts["customers"].ask(
        house.who, "kehu.customers.v1.ImportService/CreateImport",
        request(record_type="customer", filename="a.csv", content=file), answer,
    )  # fmt: skip
    start = {"id": sent.id, "mode": "IMPORT_MODE_CREATE", "duplicates": "DUPLICATE_POLICY_MERGE"}
    await made("customers.ImportService/StartImport", start)
    await house.at_rest()
    edit = {
        "recordType": "customer",
        "ids": [ids["customer"]],
        "change": {"values": {"website": "https://x.example"}},
    }
    await made("customers.BulkEditService/CreateBulkEdit", edit)
    await house.at_rest()
    deal = {"opportunity": {"name": "A deal", "customerId": ids["customer"]}}
    ids["opportunity"] = await made("sales.OpportunityService/CreateOpportunity", deal)
    activity = {
        "subject": "A call", "kind": "ACTIVITY_KIND_CALL", "dueTime": "2026-12-01T09:00:00Z", "customerId": ids["customer"],
    }  # fmt: skip
    ids["activity"] = await made("sales.ActivityService/CreateActivity", {"activity": activity})
    product = {"product": {"name": f"Pump {uuid4()}", "listPrice": {"currencyCode": "CNY", "units": "7"}}}
    product_id = await made("sales.ProductService/CreateProduct", product)
    order = {"customerId": ids["customer"], "lines": [{"productId": product_id, "quantity": "2"}]}
    ids["order"] = await made("sales.OrderService/CreateOrder", {"order": order, "place": True})
    ids["draft"] = await made("sales.OrderService/CreateOrder", {"order": order})
    ticket = {"subject": "It leaks", "customerId": ids["customer"], "contactId": ids["contact"]}
    ids["ticket"] = await made("servicedesk.TicketService/CreateTicket", {"ticket": ticket})
    campaign = {"campaign": {"name": "Spring", "channel": "CAMPAIGN_CHANNEL_EMAIL"}}
    member = {
        "campaignId": await made("marketing.CampaignService/CreateCampaign", campaign), "customerId": ids["customer"],
        "note": f"wants more {word}",
    }  # fmt: skip
    await made("marketing.CampaignMemberService/CreateCampaignMember", {"campaignMember": member})
    await house.ask("customers.CustomerService/DeleteCustomer", {"id": ids["customer"]})
    await house.at_rest()
    return ids


async def test_what_left_the_trash_for_good_is_nowhere_but_in_histories(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "customers.purge._PAGE", 1
    )  # what merges and the trash keep is looked through in parts
    word = f"w{uuid4().hex[:12]}"
    ids = await _thrown_away(house, word)
    later = {"displayName": f"Later {word[::-1]}", "notes": "thrown away today"}
    other = await house.ask("customers.CustomerService/CreateCustomer", {"customer": later})
    await house.ask("customers.CustomerService/DeleteCustomer", {"id": other["id"]})
    # What is told on the bus, and answered, goes by itself, and histories stay.
    told = {"history", "outbox", "idempotency"}

    async def left(of: str) -> set[str]:
        found = [place.partition(":")[0] for place in await house.places([of])]
        return {place for place in found if place.partition(".")[2] not in told}

    before = await left(word)
    assert before >= {
        "customers.customers", "customers.contacts", "customers.merges", "customers.trash", "customers.notes",
        "customers.customer_relations", "customers.partners", "customers.membership_cards", "customers.points_transactions",
        "customers.bulk_edit_records", "customers.import_effects", "sales.opportunities", "sales.activities", "sales.orders",
        "servicedesk.tickets", "marketing.campaign_members",
    }, before  # fmt: skip
    aged = "UPDATE trash SET created_at = created_at - interval '2 days' WHERE tenant_id = $1 AND id <> $2"
    await house.written("customers", aged, house.who.tenant_id, UUID(other["id"]))
    rule = {"rule": {"keepDays": 1}, "updateMask": "keepDays"}
    await house.ask("customers.TrashService/UpdateTrashRule", rule)

    async def emptied() -> bool:
        """The job that empties says at its beginning when it comes again: it is not seen to be under way."""
        return bool(await _told(house, "customer.purged"))

    await eventually(emptied, 60)
    await house.at_rest()
    assert await left(word) == {"sales.orders"}, "a company's vouchers stay"
    for name in ("customer", "contact", "earlier"):
        await _gone(house, "customers.TrashService/RestoreTrashItem", ids[name])
    with pytest.raises(Problem) as problem:
        await house.ask("customers.MergeService/UndoMerge", {"id": ids["merge"]})
    assert problem.value.reason == "MERGE_TOO_OLD"
    # Ledgers and reports stay whole.
    order = await house.ask("sales.OrderService/GetOrder", {"id": ids["order"]})
    assert (order["customerName"], order["total"]["units"]) == (f"Twin of {word}", "14")
    draft = await house.ask("sales.OrderService/GetOrder", {"id": ids["draft"]})
    assert draft["customerName"] == "-"
    deal = await house.ask("sales.OpportunityService/GetOpportunity", {"id": ids["opportunity"]})
    assert (deal["customerName"], deal["etag"]) == ("-", "1")
    # It is told which they were, and by what they went.
    told_of = [one for one in await _told(house, "customer.purged") if one["customerId"] == ids["customer"]]
    assert [one["mergedCustomerIds"] for one in told_of] == [[ids["twin"]]]
    contacts = {
        one["contactId"]: one.get("mergedContactIds", []) for one in await _told(house, "contact.purged")
    }
    assert contacts == {ids["contact"]: [ids["alias"]], ids["earlier"]: []}
    for record in ("customer", "contact"):
        asked = {"recordType": record, "recordId": ids[record], "pageSize": 1}
        change = (await house.ask("customers.HistoryService/ListChanges", asked))["changes"][0]
        assert change["origin"] == "CHANGE_ORIGIN_RULE"
        assert [(one["field"], one["newValue"]) for one in change["fields"]] == [("purged", "true")]
    # The time of the other one has not come.
    await house.ask("customers.TrashService/RestoreTrashItem", {"id": other["id"]})
    back = await house.ask("customers.CustomerService/GetCustomer", {"id": other["id"]})
    assert (back["displayName"], back["notes"]) == (later["displayName"], later["notes"])


async def _met(house: House, it: Somebody, **values: Any) -> dict[str, str]:
    customer = await house.ask(
        "customers.CustomerService/CreateCustomer", {"customer": {"displayName": "Firm"}}
    )
    contact = {
        "customerId": customer["id"], "displayName": it.name, "phones": [{"number": it.phone}],
        "emails": [{"address": it.email}], **values,
    }  # fmt: skip
    made = await house.ask("customers.ContactService/CreateContact", {"contact": contact})
    return {"customer": customer["id"], "contact": made["id"], "etag": made["etag"]}


async def test_it_goes_on_after_it_was_cut_off_anywhere(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever part of it was the last to be done, before or after it was noted: it ends, and everything is counted once."""
    it = Somebody()
    ids = await _met(house, it, notes=it.notes)
    await house.ask("leads.LeadService/CreateLead", {"lead": {"name": it.name, "phone": it.phone}})
    await house.at_rest()
    cut = 0
    passed: set[tuple[str, str, str]] = set()

    class Mortal(privacy_rpc.Suite):
        """Dies once before each call of a service, and once after each."""

        async def erase(self, service: str, erasure_id: Any, person: Any, cursor: str) -> Any:
            nonlocal cut
            answer: Any = None
            for when in ("before", "after"):
                if when == "after":
                    answer = await super().erase(service, erasure_id, person, cursor)
                if (when, service, cursor) not in passed:
                    passed.add((when, service, cursor))
                    cut += 1
                    raise Unavailable("cut off", reason="CUT_OFF")
            return answer

    monkeypatch.setattr(privacy_rpc, "Suite", Mortal)
    wanted = {"erasure": {"recordType": "contact", "recordId": ids["contact"]}}
    begun = await house.ask("customers.PrivacyService/CreateErasure", wanted)
    call = house.parts["customers"].running.call(house.who.acting_as("customers"))
    for _ in range(200):
        try:
            await CUSTOMERS.jobs[JOB]({"erasure_id": begun["id"]}, call)
        except Problem as problem:
            assert problem.reason == "CUT_OFF"
    done = await _erased(house, begun["id"])
    assert cut >= 12
    assert await house.places(it.words) == []
    counts = {
        (report["service"], one["recordType"]): one.get("erasedCount", 0) + one.get("keptCount", 0)
        for report in done["reports"] for one in report.get("records", ())
    }  # fmt: skip
    assert counts["customers", "contact"] == 1 and counts["leads", "lead"] == 1


async def test_who_may_not_may_not(house: House) -> None:
    it = Somebody()
    ids = await _met(house, it)
    said = {"record_type": "contact", "record_id": ids["contact"]}
    wanted = {"recordType": "contact", "recordId": ids["contact"]}
    without = {right: Rights(Reach.ALL, Reach.ALL) for right in ("customers", "leads", "exports", "settings")}
    nobody = somebody(house.who.tenant, rights=without)
    reader = somebody(house.who.tenant, rights={**without, "privacy": Rights(Reach.ALL, Reach.NONE)})
    foreign = somebody(f"o{uuid4().hex[:8]}")
    for who in (nobody, reader):
        await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", _exported(house, said, who))
        create = house.ask("customers.PrivacyService/CreateErasure", {"erasure": wanted}, who)
        await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", create)
    preview = house.ask("customers.PrivacyService/PreviewErasure", wanted, nobody)
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", preview)
    assert await house.ask("customers.PrivacyService/PreviewErasure", wanted, reader)
    await refused(Code.NOT_FOUND, "NOT_FOUND", _exported(house, said, foreign))
    for method, body in (("PreviewErasure", wanted), ("CreateErasure", {"erasure": wanted})):
        await refused(
            Code.NOT_FOUND, "NOT_FOUND", house.ask(f"customers.PrivacyService/{method}", body, foreign)
        )
    assert (await house.ask("customers.PrivacyService/ListErasures", {}, foreign)).get("erasures", []) == []
    # Services are asked by customers and by nobody else.
    for domain in ("leads", "sales", "marketing", "servicedesk", "analytics", "notifications"):
        asked = {"person": {"records": [wanted]}, "erasureId": str(new_id())}
        inner = house.ask(f"{domain}.PrivacyService/ErasePersonalData", asked)
        await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", inner)
    assert await house.places([it.email])


async def test_what_is_asked_for_wrongly_erases_nobody(house: House) -> None:
    it = Somebody()
    ids = await _met(house, it)
    create = "customers.PrivacyService/CreateErasure"
    company = {"recordType": "customer", "recordId": ids["customer"]}
    await refused(Code.FAILED_PRECONDITION, "NOT_A_PERSON", house.ask(create, {"erasure": company}))
    for kind in ("contact", "lead", "customer"):
        nobody = {"recordType": kind, "recordId": str(new_id())}
        await refused(Code.NOT_FOUND, "NOT_FOUND", house.ask(create, {"erasure": nobody}))
    wanted = {"recordType": "contact", "recordId": ids["contact"]}
    for wrong in (
        {**wanted, "recordType": "order"},
        {**wanted, "recordId": "me"},
        {**wanted, "reference": it.name},
    ):
        await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", house.ask(create, {"erasure": wrong}))
    await refused(Code.ABORTED, "ETAG_MISMATCH", house.ask(create, {"erasure": wanted, "etag": "77"}))
    key = uuid4().hex
    begun = await house.ask(create, {"erasure": wanted, "etag": ids["etag"], "requestId": key})
    other = {"erasure": {**wanted, "reference": "2"}, "etag": ids["etag"], "requestId": key}
    await refused(Code.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED", house.ask(create, other))
    await _erased(house, begun["id"])
    # Who was erased is not there any more.
    await _gone(house, "customers.ContactService/GetContact", ids["contact"])
    again = await house.ask(create, {"erasure": wanted})
    assert (await _erased(house, again["id"]))["records"]


async def test_somebody_else_with_the_same_number_is_left_alone(house: House) -> None:
    it, colleague = Somebody(), Somebody()
    colleague.phone = it.phone  # the switchboard
    mine, theirs = await _met(house, it), await _met(house, colleague)
    wanted: dict[str, Any] = {"recordType": "contact", "recordId": mine["contact"]}
    preview = await house.ask("customers.PrivacyService/PreviewErasure", wanted)
    found = {one["recordId"]: one["match"] for one in preview["records"]}
    assert found == {mine["contact"]: "PERSON_MATCH_ID", theirs["contact"]: "PERSON_MATCH_PHONE"}
    wanted["excludedRecords"] = [{"recordType": "contact", "recordId": theirs["contact"]}]
    preview = await house.ask("customers.PrivacyService/PreviewErasure", wanted)
    assert [one["recordId"] for one in preview["records"]] == [mine["contact"]]
    # Somebody knows that they are two: that, too, says of the one that there was the other.
    two = {"recordType": "contact", "recordIds": [mine["contact"], theirs["contact"]]}
    await house.ask("customers.DuplicatePairService/SetAsideDuplicatePair", two)
    begun = await house.ask("customers.PrivacyService/CreateErasure", {"erasure": wanted})
    await _erased(house, begun["id"])
    assert await house.places([it.name, it.email]) == []
    rows = await house.parts["customers"].running.database.read(
        house.who,
        "SELECT 1 FROM duplicate_pairs WHERE first_id = $1 OR second_id = $1",
        UUID(mine["contact"]),
    )
    assert rows == []
    left = await house.ask("customers.ContactService/GetContact", {"id": theirs["contact"]})
    assert (left["displayName"], left["phones"][0]["number"]) == (colleague.name, it.phone)


async def test_a_service_that_does_not_answer_fails_the_export_or_is_named_in_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = Somebody()
    ids = await _met(house, it)
    ask = privacy_rpc._find  # pyright: ignore[reportPrivateUsage]

    async def deaf(call: Any, service: str, person: Any) -> Any:
        if service == "sales":
            raise Unavailable("'sales' does not answer now.", reason="MODULE_UNAVAILABLE")
        return await ask(call, service, person)

    monkeypatch.setattr(privacy_rpc, "_find", deaf)
    said: dict[str, Any] = {"record_type": "contact", "record_id": ids["contact"]}
    await refused(Code.UNAVAILABLE, "MODULE_UNAVAILABLE", _exported(house, said))
    wanted = {"erasure": {"recordType": "contact", "recordId": ids["contact"]}}
    begun = house.ask("customers.PrivacyService/CreateErasure", wanted)
    await refused(Code.UNAVAILABLE, "MODULE_UNAVAILABLE", begun)
    files = await _exported(house, {**said, "allow_incomplete": True})
    manifest = files["manifest.json"]
    assert not manifest["complete"] and manifest["missing_services"] == {"sales": "MODULE_UNAVAILABLE"}
    assert files["customers/contact.json"][0]["id"] == ids["contact"]
