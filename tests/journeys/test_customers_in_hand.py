"""A seller goes on leave, comes back and leaves for good: customers are shared, put into the pool, claimed and given away, all
through the gateway."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any


def test_a_seller_comes_and_goes(
    founded: Callable[[str], Any], eventually: Callable[..., Any], http: Any
) -> None:
    boss = founded("in-hand")
    own = [
        {"resource": f"RIGHT_RESOURCE_{name}", "read": "REACH_OWN", "write": "REACH_OWN"}
        for name in ("CUSTOMERS", "OPPORTUNITIES")
    ]
    role = boss.post("/v1/roles", {"name": "Seller", "rights": own})["id"]

    def seller(name: str) -> tuple[str, dict[str, str]]:
        body = {"email": f"{name}@in-hand.example", "displayName": name, "roleIds": [role]}
        person = boss.post("/v1/people", body)["person"]["id"]
        key = boss.post("/v1/apiKeys", {"name": name, "personId": person})["secret"]
        return person, {"x-api-key": key}

    (ann, ann_key), (bob, bob_key) = seller("ann"), seller("bob")

    def ask(key: dict[str, str], method: str, path: str, body: Any = None, expect: int = 200) -> Any:
        answer = http.request(method, path, headers=key, json=body)
        assert answer.status_code == expect, answer.text
        return answer.json()

    first, second = [
        ask(ann_key, "POST", "/v1/customers", {"displayName": name})["id"]
        for name in ("北京用友", "上海宝钢")
    ]
    # While Ann is away, Bob looks after one of hers.
    ask(bob_key, "GET", f"/v1/customers/{first}", expect=404)
    until = (datetime.now(UTC) + timedelta(days=14)).isoformat()
    share = {"personId": bob, "access": "SHARE_ACCESS_WRITE", "untilTime": until}
    shared = ask(ann_key, "POST", f"/v1/customers/{first}:share", share)
    assert shared["shares"][0]["access"] == "SHARE_ACCESS_WRITE"
    listed = ask(bob_key, "GET", "/v1/customers?query=bjyy")["customers"]
    assert [one["id"] for one in listed] == [first]
    ask(bob_key, "PATCH", f"/v1/customers/{first}", {"needs": "ERP"})
    view = ask(bob_key, "GET", f"/v1/customers/{first}:view360")
    assert view["customer"]["needs"] == "ERP"
    refused = ask(bob_key, "DELETE", f"/v1/customers/{first}", expect=403)
    assert refused["reason"] == "SHARED_ONLY"
    assert len(ask(boss.headers, "GET", f"/v1/customers/{first}/shares")["shares"]) == 1
    ask(ann_key, "POST", f"/v1/customers/{first}:unshare", {"personId": bob})
    ask(bob_key, "GET", f"/v1/customers/{first}", expect=404)
    # She gives one up, and Bob takes it.
    boss.ask("PATCH", "/v1/poolRule", json={"claimLimit": 1, "idleDays": 90})
    ask(ann_key, "POST", f"/v1/customers/{second}:return", {"reason": "not my region"})
    pool = ask(bob_key, "GET", "/v1/customers:pool")["customers"]
    assert [(one["id"], one["returnReason"]) for one in pool] == [(second, "not my region")]
    assert ask(bob_key, "POST", f"/v1/customers/{second}:claim")["ownerId"] == bob
    # She plans to call next week, and leaves the company.
    week = datetime.now(UTC) + timedelta(days=8 - datetime.now(UTC).isoweekday(), hours=20)
    call = {
        "subject": "call", "kind": "ACTIVITY_KIND_CALL", "customerId": first, "dueTime": week.isoformat(),
    }  # fmt: skip
    task = ask(ann_key, "POST", "/v1/activities", call)["id"]

    def listed_for(key: dict[str, str]) -> list[str]:
        view = "view=CONTACT_VIEW_TO_CONTACT_NEXT_WEEK&timeZone=UTC"
        found = ask(key, "GET", f"/v1/customers:byContact?{view}")
        return [one["id"] for one in found.get("customers", [])]

    eventually(lambda: listed_for(ann_key) == [first])
    leaves = {
        "filter": f'ownerId = "{ann}"', "ownerId": bob, "withActivities": True, "withOpportunities": True,
    }  # fmt: skip
    ask(ann_key, "POST", "/v1/customers:transfer", leaves, expect=403)
    look = boss.post("/v1/customers:transfer", {**leaves, "validateOnly": True})
    assert (look["transferredCount"], look["activityCount"], look["opportunityCount"]) == (1, 1, 0)
    assert boss.post("/v1/customers:transfer", leaves)["transferredCount"] == 1
    eventually(lambda: boss.get(f"/v1/activities/{task}")["ownerId"] == bob)
    assert listed_for(bob_key) == [first] and listed_for(ann_key) == []
    told = {one["field"] for change in boss.get(f"/v1/customers/changes?recordType=customer&recordId={first}")["changes"]
            for one in change.get("fields", [])}  # fmt: skip
    assert {"ownerId", "needs", f"shares.{bob}"} <= told
