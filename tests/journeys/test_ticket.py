"""A complaint through the gateway: the customer rings, two people work on it, and everybody sees what became of it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4


def test_a_complaint(boss: Any, colleague: Callable[[str], Any], eventually: Callable[..., Any]) -> None:
    boss.sign_in()
    agent, seller = colleague("Member"), colleague("Member")
    customer = boss.post("/v1/customers", {"displayName": "联想控股", "ownerId": ""})["id"]
    contact = boss.post("/v1/contacts", {"customerId": customer, "displayName": "欧阳峰"})["id"]

    # Whoever may not see the customer does not learn that it exists.
    stranger = {"subject": "Noise", "customerId": customer}
    refused = seller.ask("POST", "/v1/tickets", json=stranger, expect=400)
    assert refused["reason"] == "CUSTOMER_NOT_FOUND", refused
    other = boss.post("/v1/customers", {"displayName": "Another"})["id"]
    mixed = {"subject": "Noise", "customerId": other, "contactId": contact}
    refused = boss.ask("POST", "/v1/tickets", json=mixed, expect=400)
    assert refused["reason"] == "CONTACT_NOT_FOUND", refused

    ticket = boss.post(
        "/v1/tickets",
        {
            "subject": "风扇太吵",
            "customerId": customer,
            "contactId": contact,
            "priority": "TICKET_PRIORITY_HIGH",
        },
        key="complaint-1",
    )
    assert ticket["customerName"] == "联想控股" and ticket["status"] == "TICKET_STATUS_NEW"
    people = {p["email"]: p["id"] for p in boss.get("/v1/people", params={"pageSize": 200})["people"]}
    path = f"/v1/tickets/{ticket['id']}"
    agent.ask("GET", path, expect=404)
    boss.post(f"{path}:assign", {"ownerId": people[agent.email]})
    agent.post(f"{path}:reply", {"body": "We send a new one."})
    agent.post(f"{path}:addComment", {"kind": "COMMENT_KIND_CUSTOMER_MESSAGE", "body": "谢谢"})
    said = agent.get(f"{path}/comments")["ticketComments"]
    assert [(one["kind"], one["authorName"]) for one in said][1] == (
        "COMMENT_KIND_CUSTOMER_MESSAGE",
        "欧阳峰",
    )
    agent.post(f"{path}:resolve", {"resolution": "Fan replaced"})

    def served() -> Any:
        view = boss.get(f"/v1/customers/{customer}:view360")
        tickets = view["sections"].get("servicedesk", {}).get("tickets", [])
        return view["customer"].get("lastServiceTime") and [t["status"] for t in tickets]

    assert eventually(served) == ["TICKET_STATUS_RESOLVED"]

    # The customer is renamed: the ticket is shown and found by the new name.
    boss.ask("PATCH", f"/v1/customers/{customer}", json={"displayName": "Legend Holdings"})
    eventually(lambda: boss.get(path)["customerName"] == "Legend Holdings")
    found = boss.get("/v1/tickets", params={"query": "legend"})["tickets"]
    assert [one["id"] for one in found] == [ticket["id"]]

    changes = boss.get("/v1/servicedesk/changes", params={"recordType": "ticket", "recordId": ticket["id"]})
    statuses = [
        f["newValue"]
        for c in reversed(changes["changes"])
        for f in c.get("fields", [])
        if f["field"] == "status"
    ]
    assert statuses == ["OPEN", "RESOLVED"]


def test_who_is_content_and_pays_is_written_to(
    founded: Callable[[str], Any], eventually: Callable[..., Any]
) -> None:
    """A rating becomes an index, a payment becomes points, both become a segment, and that a campaign's audience."""
    boss = founded("content")
    boss.ask("PATCH", "/v1/tenant", json={"currencyCode": "CNY", "timeZone": "Asia/Tokyo"})
    boss.sign_in()  # the token tells the time zone
    home = {"displayName": "苏州丝绸", "address": {"countryCode": "CN", "city": "苏州"}}
    customer = boss.post("/v1/customers", home)["id"]
    other = boss.post("/v1/customers", {"displayName": "Never bought"})["id"]
    ticket = boss.post("/v1/tickets", {"subject": "颜色不对", "customerId": customer})["id"]
    early = boss.post(f"/v1/tickets/{ticket}:rate", {"rating": 5}, expect=409)
    assert early["reason"] == "TICKET_NOT_RATABLE", early
    boss.post(f"/v1/tickets/{ticket}:resolve", {"resolution": "已更换"})
    boss.post(f"/v1/tickets/{ticket}:rate", {"rating": 6}, expect=400)
    rated = boss.post(f"/v1/tickets/{ticket}:rate", {"rating": 4, "comment": "很快"})
    assert (rated["rating"], rated["ratingComment"]) == (4, "很快")

    def content() -> Any:
        view = boss.get(f"/v1/customers/{customer}:view360")["sections"]
        worth = view.get("customers", {}).get("value", {})
        tickets = view.get("servicedesk", {}).get("tickets", [{}])
        return worth.get("satisfactionIndex"), worth.get("ratingCount"), tickets[0].get("rating")

    eventually(lambda: content() == (75, 1, 4))

    rules = [{"points": "1", "perAmount": {"currencyCode": "CNY", "units": "10"}}]
    programme = boss.ask("PATCH", "/v1/membershipProgramme", json={"enabled": True, "rules": rules})
    assert programme["earnMoment"] == "EARN_MOMENT_AT_PAYMENT"
    card = boss.post("/v1/membershipCards", {"customerId": customer})["id"]
    price = {"currencyCode": "CNY", "units": "500"}
    product = boss.post("/v1/products", {"name": "丝绸", "listPrice": price})["id"]
    lines = [{"productId": product, "quantity": "1"}]
    order = boss.post("/v1/orders", {"customerId": customer, "lines": lines})["id"]
    total = boss.post(f"/v1/orders/{order}:place")["total"]["units"]
    for part in (1, int(total) - 1):
        assert boss.get(f"/v1/membershipCards/{card}").get("balance", "0") == "0"
        receipt = {"receipt": {"amount": {"currencyCode": "CNY", "units": str(part)}}}
        boss.post(f"/v1/orders/{order}:recordReceipt", receipt, key=str(uuid4()))
    points = str(int(total) // 10)
    eventually(lambda: boss.get(f"/v1/membershipCards/{card}").get("balance") == points)

    rule = f'satisfactionIndex >= 70 AND revenue >= 500 AND lastOrderDate >= -90d AND city = "苏州" AND pointsBalance = {points}'
    eventually(lambda: [one["id"] for one in boss.get("/v1/customers", params={"filter": rule})["customers"]])
    segment = boss.post("/v1/segments", {"displayName": "Content and recent", "filter": rule})["id"]
    assert boss.get(f"/v1/segments/{segment}:count")["count"] == "1"
    today = boss.get("/v1/customers", params={"filter": "createTime = today", "orderBy": "revenue desc"})
    # Midnight may have passed there meanwhile.
    made = datetime.now(UTC) + timedelta(hours=9)
    assert [one["id"] for one in today.get("customers", [])] == [customer, other] or made.hour == 0
    campaign = boss.post("/v1/campaigns", {"name": "谢谢", "channel": "CAMPAIGN_CHANNEL_EMAIL"})["id"]
    taken = boss.post("/v1/campaignAudiences", {"campaignId": campaign, "segmentId": segment})["id"]
    eventually(lambda: boss.get(f"/v1/campaignAudiences/{taken}")["state"] == "AUDIENCE_STATE_DONE")
    members = boss.get("/v1/campaignMembers", params={"filter": f'campaignId = "{campaign}"'})
    assert [one["customerId"] for one in members["campaignMembers"]] == [customer]

    static = boss.post("/v1/segments", {"displayName": "By hand"})["id"]
    assert (
        boss.post(f"/v1/segments/{static}:addCustomers", {"customerIds": [customer, other]})["memberCount"]
        == "2"
    )
    boss.ask("DELETE", f"/v1/customers/{other}")
    assert boss.get(f"/v1/segments/{static}")["memberCount"] == "1"
    boss.post(f"/v1/trash/{other}:restore")
    assert boss.get(f"/v1/segments/{static}")["memberCount"] == "2"
