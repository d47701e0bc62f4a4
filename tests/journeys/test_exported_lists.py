"""Every list that the contracts have goes out as a file, or says why not: a new one cannot be forgotten."""

from collections.abc import Mapping
from typing import Any

import kehu.contracts
import pytest
from google.protobuf import descriptor_pb2

from chassis.exports.rpc import Exports
from customers.rpc.exports import EXPORTS as CUSTOMERS
from leads.rpc.exports import EXPORTS as LEADS
from marketing.rpc.exports import EXPORTS as MARKETING
from sales.rpc.exports import EXPORTS as SALES
from service_desk.rpc.exports import EXPORTS as SERVICE_DESK

EXPORTS: Mapping[str, Exports] = {
    "customers": CUSTOMERS, "leads": LEADS, "sales": SALES, "marketing": MARKETING, "servicedesk": SERVICE_DESK,
}  # fmt: skip
GOES_OUT: Mapping[str, str] = {
    "customers.ListCustomers": "customer",
    "customers.ListContacts": "contact",
    "customers.ListCompetitors": "competitor",
    "customers.ListPartners": "partner",
    "customers.ListMembershipCards": "card",
    "customers.ListPointsTransactions": "points_transaction",
    "customers.ListPointsLots": "points_lot",
    "customers.ListPoolCustomers": "pool_customer",
    "customers.ListSegments": "segment",
    "customers.ListSegmentCustomers": "segment_customer",
    "customers.ListCustomerRelations": "customer_relation",
    "leads.ListLeads": "lead",
    "leads.ListPoolLeads": "pool_lead",
    "leads.ListLeadCaptures": "lead_capture",
    "leads.ListLeadTouches": "lead_touch",
    "leads.ListAbsences": "absence",
    "marketing.ListCampaigns": "campaign",
    "marketing.ListCampaignMembers": "campaign_member",
    "marketing.ListWebForms": "web_form",
    "sales.ListOpportunities": "opportunity",
    "sales.ListProducts": "product",
    "sales.ListOrders": "order",
    "sales.ListActivities": "activity",
    "servicedesk.ListTickets": "ticket",
    "servicedesk.ListTicketComments": "ticket_comment",
}
"""Record type by list."""
OF_ONE = {("customers", "member_contact")}
"""A list's records of one record, which the list's request names by a field of its own."""

_SETTING = "a setting of the company: what is set up, not what happened"
_LOG = "a log of what people did with the data; it stays where it cannot be tidied, and is read there"
_ONE_RECORD = "texts and files of one record, which are read with it"
STAYS: Mapping[str, str] = {
    "ListChanges": "the history of one record, read with it",
    "ListNotes": _ONE_RECORD,
    "ListAttachments": _ONE_RECORD,
    "ListImports": _LOG,
    "ListExports": _LOG,
    "ListBulkEdits": _LOG,
    "ListMerges": _LOG,
    "ListLeadMerges": _LOG,
    "ListErasures": "a log about people who are to be gone: no file of it may live on",
    "ListTrash": "what was thrown away is put back before anybody works with it",
    "ListExportColumns": "what a file can have",
    "ListSavedViews": _SETTING,
    "ListCustomFields": _SETTING,
    "ListValueLists": _SETTING,
    "ListAssignmentRules": _SETTING,
    "ListScoreRules": _SETTING,
    "ListCadences": _SETTING,
    "ListMailCaptures": _SETTING,
    "ListRoles": _SETTING,
    "ListTeams": _SETTING,
    "ListApiKeys": "keys: nobody carries a list of them away",
    "ListSessions": "one's own sign-ins",
    "ListTenants": "the operator's, who has the database",
    "ListPeople": "our own people, not the business's records: their names are in every file that mentions them",
    "ListNotifications": "one's own inbox",
    "ListCustomerShares": "who may see one customer, read with it",
    "ListSegmentCustomerIds": "the customers of ListSegmentCustomers, for programs that page",
    "ListCustomersByContact": "customers by what is planned this week: a list to call by; nextContactTime filters as well",
    "ListCustomerValueHistory": "the curve of one customer's value, read with it",
    "ListDueLeads": "leads filtered by nextContactTime, which go out as such",
    "ListDuplicatePairs": "what is to be told apart or merged now, gone when it is",
    "ListDuplicateSweeps": _LOG,
    "ListCampaignAudiences": "how the members of one campaign came about, who go out themselves",
    "ListCleaningFindings": "what is to be tidied now, gone when it is",
}
"""Why a list does not go out, by its name."""


def _lists() -> list[str]:
    files = descriptor_pb2.FileDescriptorSet.FromString(kehu.contracts.descriptor_set())
    return [
        f"{file.package.split('.')[1]}.{method.name}"
        for file in files.file
        if file.package.startswith("kehu.")
        for service in file.service
        for method in service.method
        if method.name.startswith("List")
    ]


@pytest.mark.parametrize("method", _lists())
def test_a_list_goes_out_or_says_why_not(method: str) -> None:
    kind, reason = GOES_OUT.get(method), STAYS.get(method.partition(".")[2])
    assert (kind is None) != (reason is None), f"{method}: neither an exporter nor a reason, or both"
    if kind is not None:
        exporter = EXPORTS[method.partition(".")[0]].exporter(kind)
        for column in exporter.columns:
            assert column.en and column.zh, f"{kind}: {column.field} is not said in both languages"


def test_nothing_is_said_of_lists_that_are_not_there() -> None:
    there = _lists()
    assert GOES_OUT.keys() <= set(there)
    assert STAYS.keys() <= {method.partition(".")[2] for method in there}
    known = {(domain, kind) for domain, exports in EXPORTS.items() for kind in exports.record_types}
    assert known == OF_ONE | {(method.partition(".")[0], kind) for method, kind in GOES_OUT.items()}


def test_every_list_goes_out_through_the_gateway(boss: Any) -> None:
    mark = "导出之旅"
    company = {"displayName": f"{mark}公司", "phone": "010 6666 8888", "website": "https://example.com"}
    customer = boss.post("/v1/customers", company)["id"]
    phones = [{"number": "138 0000 1234", "label": "mobile"}]
    contact = boss.post(
        "/v1/contacts", {"customerId": customer, "displayName": "欧阳小明", "title": "经理", "phones": phones}
    )["id"]
    parents = {
        "customer": customer,
        "lead": boss.post("/v1/leads", {"name": mark, "utm": {"source": "weixin"}})["id"],
        "ticket": boss.post("/v1/tickets", {"subject": mark})["id"],
        "segment": boss.post("/v1/segments", {"displayName": mark, "kind": "SEGMENT_KIND_STATIC"})["id"],
        "card": boss.post("/v1/membershipCards", {"customerId": customer})["id"],
    }
    for domain, kind in [*((method.partition(".")[0], kind) for method, kind in GOES_OUT.items()), *OF_ONE]:
        path = f"/v1/{domain}/exports"
        offered = boss.get(f"{path}/columns", params={"recordType": kind})
        asked = {"recordType": kind, "languageCode": "zh-CN"}
        if offered.get("parentType"):
            asked["parentId"] = parents[offered["parentType"]]
        for format in offered["formats"]:
            answer = boss.http.post(path, json={**asked, "format": format}, headers=boss.headers)
            assert answer.status_code == 200, (kind, format, answer.text)
            if format == "EXPORT_FORMAT_CSV":
                head = answer.content.decode("utf-8-sig").split("\r\n")[0]
                assert head.split(",")[0] == offered["columns"][0]["labelZh"], kind
        last = boss.get(path, params={"pageSize": 1, "filter": f'recordType = "{kind}"'})["exports"][0]
        assert (last["state"], last.get("parentId")) == ("EXPORT_STATE_SUCCEEDED", asked.get("parentId"))
    card = {"recordType": "contact", "format": "EXPORT_FORMAT_VCARD", "ids": [contact], "languageCode": "zh"}
    answer = boss.http.post("/v1/customers/exports", json=card, headers=boss.headers)
    assert answer.headers["content-type"] == "text/vcard; charset=utf-8"
    lines = answer.text.split("\r\n")
    assert {
        "N:欧阳;小明;;;",
        f"ORG:{mark}公司",
        "item1.TEL;TYPE=CELL:+8613800001234",
        "item1.X-ABLabel:手机",
    } <= set(lines)
    assert lines.count("BEGIN:VCARD") == 1
    boss.ask("POST", "/v1/leads/exports", json={**card, "recordType": "lead"}, expect=400)
    boss.ask(
        "POST",
        "/v1/customers/exports",
        json={"recordType": "card", "format": "EXPORT_FORMAT_CSV", "parentId": customer},
        expect=400,
    )
