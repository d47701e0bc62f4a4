"""A list is saved as a view; its records are looked at, changed at once, followed by the live stream, and put back."""

import json
import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4


def test_a_view_is_saved_and_its_records_are_changed_and_put_back(
    boss: Any, eventually: Callable[..., Any]
) -> None:
    boss.sign_in()
    mark = uuid4().hex[:8]
    ids = [boss.post("/v1/customers", {"displayName": f"{mark} {n}", "region": mark})["id"] for n in range(5)]
    filter = f'region = "{mark}"'
    view = boss.post(
        "/v1/customers/savedViews", {"recordType": "customer", "displayName": mark, "filter": filter, "columns": ["region"]}
    )  # fmt: skip
    assert boss.post(f"/v1/customers/savedViews/{view['id']}:makeDefault", {})["default"]
    assert boss.get(f"/v1/customers/savedViews/{view['id']}:count")["count"] == 5
    change = {"values": {"industry": "Steel", "employeeCount": 50}, "addTags": ["moved"]}
    asked = {"recordType": "customer", "filter": view["filter"], "change": change}
    looked = boss.post("/v1/customers/bulkEdits:preview", asked)
    assert looked["count"] == 5
    assert {one["field"]: one["after"] for one in looked["records"][0]["fields"]} == {
        "industry": "Steel", "employeeCount": "50", "tags": '["moved"]',
    }  # fmt: skip
    heard: list[dict[str, Any]] = []
    listening = threading.Event()

    def listen() -> None:
        params = {"subject": "customers.bulk_edit.progressed"}
        with boss.http.stream(
            "GET", "/v1/events:stream", params=params, headers=boss.headers, timeout=60
        ) as answer:
            listening.set()
            for line in answer.iter_lines():
                if line.startswith("data:"):
                    heard.append(json.loads(line.removeprefix("data:")))
                    if "UNDONE" in line:
                        return

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    assert listening.wait(30)
    edit = boss.post("/v1/customers/bulkEdits", asked)
    path = f"/v1/customers/bulkEdits/{edit['id']}"
    eventually(lambda: boss.get(path)["state"] == "BULK_EDIT_STATE_SUCCEEDED", 60)
    assert {boss.get(f"/v1/customers/{id}")["industry"] for id in ids} == {"Steel"}
    boss.post(f"{path}:undo", {})
    eventually(lambda: boss.get(path)["state"] == "BULK_EDIT_STATE_UNDONE", 60)
    assert boss.get(path)["undoneRecords"] == 5
    assert "industry" not in boss.get(f"/v1/customers/{ids[0]}")
    listener.join(30)
    assert not listener.is_alive() and "BULK_EDIT_STATE_UNDONE" in json.dumps(heard[-1])

    # The same list goes to the trash, and leads of one company are closed, each in one go; and back.
    for kind, service, change, gone in (
        ("customer", "customers", {"action": "delete"}, 404),
        ("lead", "leads", {"action": "disqualify", "reason": "DISQUALIFY_REASON_NO_NEED", "note": mark}, 200),
    ):
        if kind == "lead":
            ids = [
                boss.post("/v1/leads", {"name": f"{mark} {n}", "companyName": mark})["id"] for n in range(2)
            ]
            filter = f'companyName = "{mark}"'
        asked = {"recordType": kind, "filter": filter, "change": change}
        assert boss.post(f"/v1/{service}/bulkEdits:preview", asked)["count"] == len(ids)
        path = f"/v1/{service}/bulkEdits/{boss.post(f'/v1/{service}/bulkEdits', asked)['id']}"
        eventually(lambda: boss.get(path)["state"] == "BULK_EDIT_STATE_SUCCEEDED", 60)  # noqa: B023 (called at once)
        done = boss.get(path)
        assert (done["changedRecords"], done["change"]) == (len(ids), change)
        answer = boss.http.get(f"/v1/{service}/{ids[0]}", headers=boss.headers)
        assert answer.status_code == gone
        assert gone == 404 or answer.json()["status"] == "LEAD_STATUS_DISQUALIFIED"
        boss.post(f"{path}:undo", {})
        eventually(lambda: boss.get(path)["state"] == "BULK_EDIT_STATE_UNDONE", 60)  # noqa: B023 (called at once)
        assert boss.get(path)["undoneRecords"] == len(ids)
        assert boss.get(f"/v1/{service}/{ids[0]}").get("status", "LEAD_STATUS_NEW") == "LEAD_STATUS_NEW"
