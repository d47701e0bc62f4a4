"""A company with one record of everything, and a look at every row that companies have."""

import asyncio
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
import jwt

from kehu_local.suite import Suite
from proof import commands
from proof.people import Person

MARK = "Ours-7f3c9e"
"""Stands in every text of the company that is to be kept from others."""


@dataclass
class World:
    """One record of everything that a company has."""

    owner: Any
    """Its administrator."""
    tenant_id: str
    ids: dict[str, str] = field(default_factory=dict[str, str])
    """Ids by the name of the field that names such a record: `customer_id`."""

    def record_of(self, prefix: str) -> str:
        """The id that stands in paths which begin so. Raises KeyError when the world lacks such a record."""
        return self.ids[_BY_PREFIX[prefix]]

    def betrayed_by(self, answer: bytes, said: bytes = b"") -> bool:
        """Whether an answer holds something of this company which was not in the question."""
        if MARK.encode() in answer:
            return True
        return any(id.encode() in answer for id in self.ids.values() if id.encode() not in said)


_BY_PREFIX = {
    "/v1/absences/": "absence_id", "/v1/assignmentRules/": "assignment_rule_id", "/v1/cadences/": "cadence_id",
    "/v1/scoreRules/": "score_rule_id",
    "/v1/activities/": "activity_id", "/v1/apiKeys/": "api_key_id", "/v1/campaignMembers/": "campaign_member_id",
    "/v1/campaigns/": "campaign_id", "/v1/campaignAudiences/": "campaign_audience_id",
    "/v1/contacts/": "contact_id", "/v1/conversions/": "conversion_id",
    "/v1/customers/customFields/": "customer_custom_field_id", "/v1/leads/customFields/": "lead_custom_field_id",
    "/v1/sales/customFields/": "product_custom_field_id", "/v1/marketing/customFields/": "campaign_custom_field_id",
    "/v1/servicedesk/customFields/": "ticket_custom_field_id",
    "/v1/customers/valueLists/": "customer_value_list_id", "/v1/leads/valueLists/": "lead_value_list_id",
    "/v1/customers/bulkEdits/": "customer_bulk_edit_id", "/v1/leads/bulkEdits/": "lead_bulk_edit_id",
    "/v1/sales/bulkEdits/": "product_bulk_edit_id",
    **{
        f"/v1/{domain}/{name}s/": f"{domain}_{key}_id"
        for domain in ("customers", "leads")
        for name, key in (("duplicateSweep", "duplicate_sweep"), ("duplicatePair", "duplicate_pair"))
    },
    "/v1/customers/savedViews/": "customer_saved_view_id", "/v1/leads/savedViews/": "lead_saved_view_id",
    "/v1/sales/savedViews/": "order_saved_view_id", "/v1/servicedesk/savedViews/": "ticket_saved_view_id",
    **{
        f"/v1/{domain}/{papers}s/": f"{domain}_{papers}_id"
        for domain in ("customers", "leads", "sales", "marketing", "servicedesk") for papers in ("note", "attachment")
    },
    "/v1/customers/": "customer_id", "/v1/customers/imports/": "customer_import_id", "/v1/forms/": "form_id",
    "/v1/membershipCards/": "card_id", "/v1/customerRelations/": "customer_relation_id",
    "/v1/leadMerges/": "lead_merge_id", "/v1/mailCaptures/": "mail_capture_id",
    "/v1/merges/": "merge_id", "/v1/trash/": "trash_item_id",
    "/v1/erasures/": "erasure_id", "/v1/partners/": "partner_id", "/v1/competitors/": "competitor_id",
    "/v1/leads/": "lead_id", "/v1/leads/imports/": "lead_import_id", "/v1/opportunities/": "opportunity_id",
    "/v1/orders/": "order_id", "/v1/people/": "person_id", "/v1/products/": "product_id", "/v1/roles/": "role_id",
    "/v1/sales/imports/": "sales_import_id", "/v1/sessions/": "session_id", "/v1/teams/": "team_id",
    "/v1/segments/": "segment_id", "/v1/tickets/": "ticket_id", "/v1/notifications/": "notification_id",
}  # fmt: skip
_BY_SERVICE = {
    "NotificationService": "notification_id",
    "AbsenceService": "absence_id", "AssignmentService": "assignment_rule_id",
    "CadenceService": "cadence_id", "ScoreService": "score_rule_id", "CleaningService": "lead_id",
    "MailCaptureService": "mail_capture_id",
    "ActivityService": "activity_id", "ApiKeyService": "api_key_id", "CampaignMemberService": "campaign_member_id",
    "CampaignService": "campaign_id", "CampaignAudienceService": "campaign_audience_id",
    "ContactService": "contact_id", "ConversionService": "conversion_id",
    "CustomerService": "customer_id", "MembershipService": "card_id", "PointsService": "card_id",
    "RelationService": "customer_relation_id", "MergeService": "merge_id", "TrashService": "trash_item_id",
    "PrivacyService": "erasure_id", "PartnerService": "partner_id", "CompetitorService": "competitor_id",
    "WebFormService": "form_id", "LeadService": "lead_id",
    "OpportunityService": "opportunity_id", "OrderService": "order_id", "PersonService": "person_id",
    "ProductService": "product_id", "RoleService": "role_id", "SegmentService": "segment_id", "SessionService": "session_id",
    "TeamService": "team_id", "TicketService": "ticket_id",
}  # fmt: skip
_CHANGING = {"identity": "person", "sales": "order", "servicedesk": "ticket", "marketing": "campaign"}
_IMPORTED = {"customers": "customer", "leads": "lead", "sales": "product"}
_CUSTOMIZED = {**_IMPORTED, "marketing": "campaign", "servicedesk": "ticket"}


def changing(domain: str) -> str:
    """The record type whose history is asked for in that domain."""
    return _CHANGING.get(domain, domain.removesuffix("s"))


def imported(domain: str) -> str:
    """The record type that is imported into that domain."""
    return _IMPORTED[domain]


def pair_of(world: World, domain: str) -> list[str]:
    """The ids of two records of that domain that are much alike, and not the same."""
    names = {"customers": ("customer_id", "to_customer_id"), "leads": ("lead_id", "merged_lead_id")}
    return [world.ids[name] for name in names[domain]]


def record_for(world: World, service: str, domain: str) -> str:
    """The id of a record that the methods of that service are about; the customer where they are about none."""
    name = service.rpartition(".")[2]
    if name == "ImportService":
        return world.ids[f"{'sales' if domain == 'sales' else imported(domain)}_import_id"]
    if name == "CustomFieldService":
        return world.ids[f"{_CUSTOMIZED[domain]}_custom_field_id"]
    if name == "ValueListService":
        return world.ids[f"{imported(domain)}_value_list_id"]
    if name == "BulkEditService":
        return world.ids[f"{imported(domain)}_bulk_edit_id"]
    if name in ("DuplicateSweepService", "DuplicatePairService"):
        kind = "sweep" if name == "DuplicateSweepService" else "pair"
        return world.ids[f"{domain}_duplicate_{kind}_id"]
    if name == "SavedViewService":
        return world.ids[f"{changing(domain)}_saved_view_id"]
    if name in ("HistoryService", "NoteService", "AttachmentService"):
        return world.ids[f"{changing(domain)}_id"]
    return world.ids[_BY_SERVICE.get(name, "customer_id")]


def founded(suite: Suite, http: httpx.Client, tenant: str) -> Person:
    """The administrator of a new tenant of that name, signed in."""
    made = commands.founded(suite, tenant)
    return Person(http, made.tenant, made.email, made.password).sign_in()


def claims_of(person: Any) -> Mapping[str, Any]:
    """What the access token of somebody signed in says."""
    token = person.headers["authorization"].removeprefix("Bearer ")
    return jwt.decode(token, options={"verify_signature": False})


def furnished(owner: Any, mark: str = MARK) -> World:
    """The company of that administrator, with one record of everything in it; `mark` stands in all its texts."""
    claims = claims_of(owner)
    world = World(owner, claims["tid"])
    ids = world.ids

    def make(name: str, path: str, body: dict[str, Any], answer: str = "") -> Any:
        made = owner.post(path, body)
        ids[name] = (made[answer] if answer else made)["id"]
        return made

    make("team_id", "/v1/teams", {"name": mark})
    make("role_id", "/v1/roles", {"name": mark, "rights": []})
    person = {"email": "ann@ours.example", "displayName": f"{mark} Ann", "roleIds": [ids["role_id"]]}
    make("person_id", "/v1/people", person, "person")
    make("api_key_id", "/v1/apiKeys", {"name": mark}, "apiKey")
    ids["session_id"] = claims["sid"]
    for domain, kind in _CUSTOMIZED.items():
        text = {"kind": "CUSTOM_FIELD_KIND_TEXT", "filterable": True}
        own = {"recordType": kind, "key": "own", "labelEn": f"{mark} own", **text}
        make(f"{kind}_custom_field_id", f"/v1/{domain}/customFields", own)
    for domain in ("customers", "leads", "sales", "servicedesk"):
        shared = {
            "recordType": changing(domain),
            "displayName": mark,
            "sharing": "SAVED_VIEW_SHARING_EVERYONE",
        }
        make(f"{changing(domain)}_saved_view_id", f"/v1/{domain}/savedViews", shared)
    for kind in ("customer", "lead"):
        ids[f"{kind}_value_list_id"] = owner.get(f"/v1/{kind}s/valueLists")["valueLists"][0]["id"]
    own = {"customFields": {"own": f"{mark} value"}}
    make("customer_id", "/v1/customers", {"displayName": f"{mark} customer", **own})
    customer = {"customerId": ids["customer_id"]}
    ids["from_customer_id"] = ids["customer_id"]
    make("to_customer_id", "/v1/customers", {"displayName": f"{mark} partner"})
    ends = {"fromCustomerId": ids["customer_id"], "toCustomerId": ids["to_customer_id"]}
    make(
        "customer_relation_id",
        "/v1/customerRelations",
        {**ends, "type": "RELATION_TYPE_PARTNER", "notes": mark},
    )
    make("contact_id", "/v1/contacts", {**customer, "displayName": f"{mark} contact"})
    make("merged_contact_id", "/v1/contacts", {**customer, "displayName": f"{mark} twin"})
    make("merged_id", "/v1/customers", {"displayName": f"{mark} twin"})
    gone = owner.post("/v1/customers", {"displayName": f"{mark} gone"})["id"]
    binned = owner.post("/v1/customers", {"displayName": f"{mark} binned"})["id"]
    owner.ask("DELETE", f"/v1/customers/{binned}")
    ids["trash_item_id"] = binned
    make("merge_id", f"/v1/customers/{ids['merged_id']}:merge", {"mergedIds": [gone]})
    make("card_id", "/v1/membershipCards", customer)
    make("partner_id", "/v1/partners", {**customer, "type": "supplier", "notes": mark})
    rival = {"displayName": f"{mark} rival", "customerId": ids["customer_id"], "products": [{"name": mark}]}
    make("competitor_id", "/v1/competitors", rival)
    make("segment_id", "/v1/segments", {"displayName": f"{mark} segment"})
    owner.post(f"/v1/segments/{ids['segment_id']}:addCustomers", {"customerIds": [ids["customer_id"]]})
    price = {"currencyCode": "CNY", "units": "7"}
    make("product_id", "/v1/products", {"name": f"{mark} product", "listPrice": price})
    bids = {"competitorIds": [ids["competitor_id"]]}
    make("opportunity_id", "/v1/opportunities", {**customer, "name": f"{mark} deal", **bids})
    due = "2026-12-01T09:00:00Z"
    task = {**customer, "subject": f"{mark} task", "kind": "ACTIVITY_KIND_TASK", "dueTime": due}
    make("activity_id", "/v1/activities", task)
    owner.post(
        "/v1/activities", {**task, "subject": f"{mark} due task", "dueTime": datetime.now(UTC).isoformat()}
    )
    lines = [{"productId": ids["product_id"], "quantity": "1"}]
    make("order_id", "/v1/orders", {**customer, "notes": mark, "lines": lines})
    make("ticket_id", "/v1/tickets", {**customer, "subject": f"{mark} ticket", **own})
    owner.post(f"/v1/tickets/{ids['ticket_id']}:reply", {"body": f"{mark} reply"})
    mailing = {"name": f"{mark} campaign", "channel": "CAMPAIGN_CHANNEL_EMAIL", **own}
    make("campaign_id", "/v1/campaigns", mailing)
    member = {"campaignId": ids["campaign_id"], "customerId": ids["customer_id"]}
    make("campaign_member_id", "/v1/campaignMembers", member)
    audience = {"campaignId": ids["campaign_id"], "segmentId": ids["segment_id"]}
    make("campaign_audience_id", "/v1/campaignAudiences", audience)
    name_field = {
        "key": "n", "label": mark, "kind": "FORM_FIELD_KIND_TEXT", "required": True, "leadField": "LEAD_FIELD_NAME",
    }  # fmt: skip
    make("form_id", "/v1/forms", {"name": f"{mark} form", "fields": [name_field]})
    won = owner.post("/v1/leads", {"name": f"{mark} converted", "companyName": mark})
    ids["conversion_id"] = owner.post(f"/v1/leads/{won['id']}:convert")["id"]
    make("lead_id", "/v1/leads", {"name": f"{mark} lead", "companyName": mark})
    make("merged_lead_id", "/v1/leads", {"name": f"{mark} twin", "companyName": mark})
    twice = owner.post("/v1/leads", {"name": f"{mark} twice", "utm": {"campaign": mark}})["id"]
    box = {"name": f"{mark} box", "host": "mail.invalid", "userName": mark, "folder": mark}
    make("mail_capture_id", "/v1/mailCaptures", box)
    make("lead_merge_id", f"/v1/leads/{ids['merged_lead_id']}:merge", {"mergedIds": [twice]})
    passing = owner.post("/v1/leads", {"name": f"{mark} passing"})["id"]
    make("erasure_id", "/v1/erasures", {"recordType": "lead", "recordId": passing})
    asleep = {"name": mark, "condition": f'region = "{mark}"'}  # about none of the leads there are
    make("assignment_rule_id", "/v1/assignmentRules", {**asleep, "personIds": [ids["person_id"]]})
    make("score_rule_id", "/v1/scoreRules", {**asleep, "points": 1})
    make("cadence_id", "/v1/cadences", {**asleep, "steps": [{"channel": "CONTACT_CHANNEL_PHONE"}]})
    away = {"fromTime": "2020-01-01T00:00:00Z", "untilTime": "2020-01-02T00:00:00Z", "note": mark}
    make("absence_id", "/v1/absences", away)
    for domain in ("customers", "leads"):
        kind = changing(domain)
        apart = {"recordType": kind, "recordIds": pair_of(world, domain)}
        make(f"{domain}_duplicate_pair_id", f"/v1/{domain}/duplicatePairs:setAside", apart)
        make(f"{domain}_duplicate_sweep_id", f"/v1/{domain}/duplicateSweeps", {"recordType": kind})
    for domain in _CUSTOMIZED:
        _furnish_papers(world, domain, mark)
    for domain, kind in _IMPORTED.items():
        # Too long a text: the one record is refused, and stands in the file of those that were.
        change = {"values": {"customFields": {"own": mark * 30}}}
        edit = {"recordType": kind, "ids": [ids[f"{kind}_id"]], "change": change}
        make(f"{kind}_bulk_edit_id", f"/v1/{domain}/bulkEdits", edit)
        file = {"file": ("a.csv", f"Name,{mark}\n{mark} imported,\n".encode(), "text/csv")}
        made = owner.ask("POST", f"/v1/{domain}/imports", data={"recordType": kind}, files=file)
        ids[f"{'sales' if domain == 'sales' else kind}_import_id"] = made["id"]
    for domain, kind in _CUSTOMIZED.items():
        field = "name" if kind == "product" else "externalKey"
        sent = {"recordType": kind, "format": "EXPORT_FORMAT_CSV", "filter": f'{field} != "{mark}"'}
        file = owner.http.post(f"/v1/{domain}/exports", json=sent, headers=owner.headers)
        assert file.status_code == 200 and mark.encode() in file.content, file.text[:200]
    ids["notification_id"] = _told(owner)
    until = time.monotonic() + 180
    while owner.get(f"/v1/erasures/{ids['erasure_id']}")["state"] != "ERASURE_STATE_SUCCEEDED":
        assert time.monotonic() < until, "the erasure does not come to its end"
        time.sleep(0.2)  # nothing tells of it but the record itself
    return world


def _told(owner: Any) -> str:
    """The id of a notification of that person, who is told of something soon."""
    until = time.monotonic() + 60
    while not (told := owner.get("/v1/notifications").get("notifications")):
        assert time.monotonic() < until, "nobody is told of a task that is due"
        time.sleep(0.1)
    return told[0]["id"]


def _furnish_papers(world: World, domain: str, mark: str) -> None:
    """A note and a file on the record whose history is asked for."""
    kind = changing(domain)
    on = {"recordType": kind, "recordId": world.ids[f"{kind}_id"]}
    note = world.owner.post(f"/v1/{domain}/notes", {**on, "text": mark})
    world.ids[f"{domain}_note_id"] = note["id"]
    file = {"file": (f"{mark}.txt", mark.encode(), "text/plain")}
    made = world.owner.ask("POST", f"/v1/{domain}/attachments", data=on, files=file)
    world.ids[f"{domain}_attachment_id"] = made["id"]


class Rows:
    """Every row of some tenants in every database, as one number each database."""

    def __init__(self, suite: Suite, tenants: list[str]) -> None:
        assert suite.postgres is not None
        self._server = urlsplit(suite.postgres.url)
        self._suite, self._tenants = suite, tenants
        self._loop = asyncio.new_event_loop()
        self._open: dict[str, tuple[Any, str]] = {}
        self._last: dict[str, str] | None = None
        self._written = ""
        """Where the server's log of changes ended when `_last` was looked at."""

    def now(self) -> dict[str, str]:
        """Fingerprints by database. Equal ones mean: no row was made, changed or removed."""
        return self._loop.run_until_complete(self._look())

    def unchanged(self) -> bool:
        """Whether no row was made, changed or removed since this was last asked."""
        return not self.changed()

    def changed(self) -> list[str]:
        """The databases in which a row was made, changed or removed since this was last asked."""
        written = self._loop.run_until_complete(self._end_of_log())
        if self._last is not None and written == self._written:
            return []  # nothing was written at all, by nobody
        before, self._last, self._written = self._last, self.now(), written
        return [] if before is None else [name for name, rows in self._last.items() if rows != before[name]]

    def settled(self) -> dict[str, str]:
        """The same as `now`, when relays and consumers have nothing left to do."""
        until = time.monotonic() + 60
        before = self.now()
        while True:
            time.sleep(0.4)  # longer than a relay or consumer pauses; nothing tells of an idle system
            after = self.now()
            if after == before:
                self._last = after
                return after
            assert time.monotonic() < until, "the tenants' rows do not come to rest"
            before = after

    def close(self) -> None:
        """Ends the connections."""
        for connection, _ in self._open.values():
            self._loop.run_until_complete(connection.close())
        self._loop.close()

    async def _end_of_log(self) -> str:
        if not self._open:
            await self._look()
        connection = next(iter(self._open.values()))[0]
        return await connection.fetchval("SELECT pg_current_wal_insert_lsn()::text")

    async def _look(self) -> dict[str, str]:
        domains = list(self._suite.databases)
        return dict(zip(domains, await asyncio.gather(*map(self._look_at, domains)), strict=True))

    async def _look_at(self, domain: str) -> str:
        if domain not in self._open:
            path = urlsplit(self._suite.databases[domain].app).path
            connection: Any = await asyncpg.connect(urlunsplit(self._server._replace(path=path)))
            tables = await connection.fetch(
                "SELECT table_name AS name FROM information_schema.columns"
                " WHERE table_schema = 'public' AND column_name = 'tenant_id' ORDER BY 1"
            )
            assert tables, domain
            # Jobs that wait from before run when they are due, whoever asks for what meanwhile.
            due = await connection.fetch(
                "SELECT id FROM jobs WHERE tenant_id = ANY($1::uuid[])", self._tenants
            )
            known = ", ".join(f"'{row['id']}'" for row in due) or "NULL"
            parts = [
                f"SELECT '{t['name']}' AS name, count(*) AS rows, coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)"
                f' AS sum FROM "{t["name"]}" t WHERE tenant_id = ANY($1::uuid[])'
                + (f" AND (id IN ({known})) IS NOT TRUE" if t["name"] == "jobs" else "")
                for t in tables
            ]
            self._open[domain] = connection, " UNION ALL ".join(parts) + " ORDER BY 1"
        connection, sql = self._open[domain]
        rows = await connection.fetch(sql, self._tenants)
        assert any(row["rows"] for row in rows), f"{domain} holds nothing of the tenants"
        return hashlib.sha256(repr([tuple(row) for row in rows]).encode()).hexdigest()
