"""A customer that is kept twice, through the gateway: found, merged, and the merge undone, in every service."""

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4


def _references(boss: Any, made: dict[str, str]) -> dict[str, str]:
    """Whose everything is, by what it is."""
    return {path: boss.get(f"/v1/{path}/{id}")["customerId"] for path, id in made.items()}


def _own_fields(boss: Any, mark: str, one: str) -> dict[str, str]:
    """Records with a field of the company's own that names that customer, by what they are."""
    key = f"through_{mark}"
    field = {"key": key, "labelEn": key, "kind": "CUSTOM_FIELD_KIND_REFERENCE", "referenceType": "customer"}
    for service, kind in (
        ("leads", "lead"), ("sales", "opportunity"), ("sales", "product"), ("customers", "customer"), ("customers", "contact"),
    ):  # fmt: skip
        boss.post(f"/v1/{service}/customFields", {**field, "recordType": kind})
    named = {"customFields": {key: one}}
    other = boss.post("/v1/customers", {"displayName": f"{mark}贸易有限公司", **named})["id"]
    price = {"currencyCode": "CNY", "units": "7"}
    bodies: dict[str, Any] = {
        "leads": {"name": "王芳"}, "opportunities": {"name": "deal", "customerId": other},
        "products": {"name": f"{mark} own", "listPrice": price}, "contacts": {"displayName": "王芳", "customerId": other},
    }  # fmt: skip
    made = {path: boss.post(f"/v1/{path}", {**body, **named})["id"] for path, body in bodies.items()}
    return {**made, "customers": other}


def _named(boss: Any, mark: str, made: dict[str, str]) -> set[str]:
    """Whom those fields name."""
    return {boss.get(f"/v1/{path}/{id}")["customFields"][f"through_{mark}"] for path, id in made.items()}


def _pairs(boss: Any, one: str, state: str = "OPEN") -> list[dict[str, Any]]:
    asked = {"recordId": one, "state": f"DUPLICATE_PAIR_STATE_{state}"}
    return boss.get("/v1/customers/duplicatePairs", params=asked).get("duplicatePairs", [])


def _swept(boss: Any, eventually: Callable[..., Any], one: str, two: str) -> None:
    """Both are found among all; set aside, and taken back."""
    sweep = f"/v1/customers/duplicateSweeps/{boss.post('/v1/customers/duplicateSweeps', {'recordType': 'customer'})['id']}"
    eventually(lambda: boss.get(sweep)["state"] == "DUPLICATE_SWEEP_STATE_SUCCEEDED", 60)
    done = boss.get(sweep)
    assert done["processedRecords"] == done["totalRecords"] >= 2 and done["foundPairs"] >= 1
    (pair,) = _pairs(boss, one)
    assert (pair["first"]["id"], pair["second"]["id"], pair["reasons"]) == (one, two, ["CORE_NAME"])
    aside = {"recordType": "customer", "recordIds": [two, one]}
    assert boss.post("/v1/customers/duplicatePairs:setAside", aside)["id"] == pair["id"]
    assert (
        _pairs(boss, one) == []
        and boss.get(f"/v1/customers/{two}:findDuplicates").get("duplicates", []) == []
    )
    boss.post(f"/v1/customers/duplicatePairs/{pair['id']}:reopen")
    assert boss.get(f"/v1/customers/duplicatePairs/{pair['id']}")["state"] == "DUPLICATE_PAIR_STATE_OPEN"


def test_kept_twice(boss: Any, eventually: Callable[..., Any]) -> None:
    boss.sign_in()
    mark = uuid4().hex[:6]
    one = boss.post(
        "/v1/customers", {"displayName": f"北京市{mark}软件股份有限公司", "phone": "010 6288 0001"}
    )["id"]
    found = boss.post(
        "/v1/customers:findDuplicates", {"customer": {"displayName": f"{mark}软件（上海）有限公司"}}
    )
    assert [twin["customer"]["id"] for twin in found["duplicates"]] == [one]
    # Whoever creates it all the same is told beside the answer.
    person = {"name": f"王{mark}", "phone": "010 6288 0002"}
    twin, first, second = [
        boss.http.post(f"/v1/{path}", json=body, headers=boss.headers)
        for path, body in (("customers", {"displayName": f"{mark}软件（上海）有限公司"}), ("leads", person), ("leads", person))
    ]  # fmt: skip
    for made, known in ((twin, [one]), (first, None), (second, [first.json()["id"]])):
        told = made.headers.get("kehu-possible-duplicates")
        assert (told and [like["id"] for like in json.loads(told)["duplicates"]]) == known
        boss.ask("DELETE", f"/v1/{'customers' if made is twin else 'leads'}/{made.json()['id']}")
    # It is created all the same, by somebody in a hurry.
    lead = boss.post("/v1/leads", {"name": "李娜", "companyName": f"{mark}软件", "phone": "010 6288 0001"})
    converted = boss.post(f"/v1/leads/{lead['id']}:convert", {"opportunity": {"name": "deal"}})
    two, contact = converted["customerId"], converted["contactId"]
    found = boss.get(f"/v1/customers/{two}:findDuplicates")
    reasons = [reason["kind"] for reason in found["duplicates"][0]["reasons"]]
    assert [twin["customer"]["id"] for twin in found["duplicates"]] == [one]
    assert reasons == ["DUPLICATE_REASON_KIND_CORE_NAME"]
    _swept(boss, eventually, one, two)
    product = boss.post("/v1/products", {"name": mark, "listPrice": {"currencyCode": "CNY", "units": "7"}})[
        "id"
    ]
    order = {"customerId": two, "lines": [{"productId": product, "quantity": "1"}]}
    task = {
        "customerId": two,
        "subject": "call",
        "kind": "ACTIVITY_KIND_TASK",
        "dueTime": "2026-12-01T09:00:00Z",
    }
    campaign = boss.post("/v1/campaigns", {"name": mark, "channel": "CAMPAIGN_CHANNEL_EMAIL"})["id"]
    made = {
        "leads": lead["id"], "contacts": contact, "conversions": converted["id"],
        "orders": boss.post("/v1/orders", order)["id"], "activities": boss.post("/v1/activities", task)["id"],
        "tickets": boss.post("/v1/tickets", {"customerId": two, "contactId": contact, "subject": "help"})["id"],
        "opportunities": converted["opportunityId"],
        "campaignMembers": boss.post("/v1/campaignMembers", {"campaignId": campaign, "customerId": two})["id"],
    }  # fmt: skip
    own = _own_fields(boss, mark, two)
    boss.post(f"/v1/orders/{made['orders']}:place")
    eventually(lambda: boss.get(f"/v1/customers/{two}/value").get("orderCount") == 1)

    asked = {"mergedIds": [two], "fieldChoices": {"displayName": one}}
    foreseen = boss.post(f"/v1/customers/{one}:previewMerge", asked)
    moved = {told["recordType"]: told["count"] for told in foreseen["moved"]}
    assert (moved["contact"], moved["order"], moved["reference"]) == (1, 1, 2)
    lost = {told["field"]: told["lost"] for told in foreseen["fields"] if "lost" in told}
    assert lost["displayName"] == [{"recordId": two, "value": f"{mark}软件"}]
    assert boss.get(f"/v1/customers/{two}")["displayName"] == f"{mark}软件"
    merge = boss.post(f"/v1/customers/{one}:merge", asked)
    now = boss.get(f"/v1/customers/{one}")
    assert {**now, "updateTime": ""} == {**foreseen["customer"], "updateTime": ""}
    assert _pairs(boss, one) == [] and _pairs(boss, one, "MERGED")[0]["mergeId"] == merge["id"]
    eventually(lambda: set(_references(boss, made).values()) == {one})
    eventually(lambda: _named(boss, mark, own) == {one})
    gone = boss.ask("GET", f"/v1/customers/{two}:view360", expect=404)
    assert (gone["reason"], gone["metadata"]["survivorId"]) == ("CUSTOMER_MERGED", one)
    view = eventually(lambda: _whole(boss.get(f"/v1/customers/{one}:view360")))
    assert view["sections"]["customers"]["value"]["orderCount"] == 1
    assert boss.get(f"/v1/opportunities/{made['opportunities']}")["customerName"].startswith("北京市")

    boss.post(f"/v1/merges/{merge['id']}:undo")
    assert len(_pairs(boss, one)) == 1 and _pairs(boss, one, "MERGED") == []
    eventually(lambda: set(_references(boss, made).values()) == {two})
    eventually(lambda: _named(boss, mark, own) == {two})
    assert boss.get(f"/v1/customers/{two}")["displayName"] == f"{mark}软件"
    eventually(lambda: boss.get(f"/v1/customers/{two}/value").get("orderCount") == 1)
    assert boss.get(f"/v1/customers/{one}/value").get("orderCount", 0) == 0

    # Thrown away by mistake, and brought back.
    boss.ask("DELETE", f"/v1/customers/{two}")
    assert _pairs(boss, one) == []
    assert two in [item["id"] for item in boss.get("/v1/trash")["items"]]
    boss.ask("GET", f"/v1/contacts/{contact}", expect=404)
    eventually(
        lambda: (
            boss.http.get(f"/v1/campaignMembers/{made['campaignMembers']}", headers=boss.headers).status_code
            == 404
        )
    )
    boss.post(f"/v1/trash/{two}:restore")
    assert len(_pairs(boss, one)) == 1
    eventually(
        lambda: (
            boss.http.get(f"/v1/campaignMembers/{made['campaignMembers']}", headers=boss.headers).status_code
            == 200
        )
    )
    assert set(_references(boss, made).values()) == {two}


def _whole(view: Any) -> Any:
    sections = view["sections"]
    counts = [
        len(sections.get("sales", {}).get("orders", [])),
        len(sections.get("servicedesk", {}).get("tickets", [])),
    ]
    return view if counts == [1, 1] and len(sections.get("leads", {}).get("leads", [])) == 1 else None
