"""A complaint through the gateway: the customer rings, two people work on it, and everybody sees what became of it."""

from collections.abc import Callable
from typing import Any


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
