"""A lead's notes and files follow it to its customer, and the lead keeps its own."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4


def _lead(boss: Any) -> dict[str, Any]:
    lead = boss.post("/v1/leads", {"name": "王芳", "companyName": f"用友 {uuid4()}"})
    return {"recordType": "lead", "recordId": lead["id"]}


def _convert(boss: Any, lead: dict[str, Any], **more: Any) -> dict[str, Any]:
    made = boss.post(f"/v1/leads/{lead['recordId']}:convert", more)
    return {"recordType": "customer", "recordId": made["customerId"]}


def test_what_is_on_a_lead_is_on_its_customer(
    boss: Any, colleague: Callable[[str], Any], eventually: Any
) -> None:
    boss.sign_in()
    lead = _lead(boss)
    notes = [
        boss.post("/v1/leads/notes", {**lead, "text": text, "pinned": text == "first"})
        for text in ("first", "second")
    ]
    files = [
        boss.ask("POST", "/v1/leads/attachments", data=lead, files={"file": (name, content)})
        for name, content in (("合同.txt", b"agreed"), ("大.bin", bytes(range(256)) * 4096))
    ]
    customer = _convert(boss, lead)

    def followed() -> Any:
        found = boss.get("/v1/customers/attachments", params=customer)
        return found if found.get("totalCount") == 2 else None

    there = eventually(followed)
    assert {(f["filename"], f["sha256"], f["creatorId"], f["createTime"]) for f in there["attachments"]} == {
        (f["filename"], f["sha256"], f["creatorId"], f["createTime"]) for f in files
    }
    for file in there["attachments"]:
        got = boss.http.get(f"/v1/customers/attachments/{file['id']}:download", headers=boss.headers)
        assert got.status_code == 200 and len(got.content) == int(file["sizeBytes"])
    listed = boss.get("/v1/customers/notes", params=customer)
    assert [(n["text"], n.get("pinned", False)) for n in listed["notes"]] == [
        ("second", False),
        ("first", True),
    ]
    assert [n["createTime"] for n in listed["notes"]] == [n["createTime"] for n in reversed(notes)]
    # On the lead they stay, and nothing is added behind its conversion.
    assert boss.get("/v1/leads/notes", params=lead)["totalCount"] == 2
    boss.ask("POST", "/v1/leads/notes", json={**lead, "text": "late"}, expect=409)
    boss.ask("DELETE", f"/v1/leads/attachments/{files[0]['id']}", expect=409)
    facet = boss.get(f"/v1/customers/{customer['recordId']}:view360")["sections"]["customers"]
    assert (facet["noteCount"], facet["attachmentCount"]) == (2, 2)
    assert [n["text"] for n in facet["latestNotes"]] == ["second", "first"]


def test_it_joins_what_a_customer_has_already(boss: Any, eventually: Any) -> None:
    boss.sign_in()
    customer = boss.post("/v1/customers", {"displayName": f"There {uuid4()}"})["id"]
    on = {"recordType": "customer", "recordId": customer}
    boss.post("/v1/customers/notes", {**on, "text": "there"})
    lead = _lead(boss)
    boss.post("/v1/leads/notes", {**lead, "text": "new"})
    assert _convert(boss, lead, customerId=customer) == on

    def texts() -> Any:
        listed = boss.get("/v1/customers/notes", params=on).get("notes", [])
        return {n["text"] for n in listed} == {"there", "new"}

    eventually(texts)
