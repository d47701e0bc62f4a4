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
        return found if len(found.get("attachments", [])) == 2 else None

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


def _texts(boss: Any, on: dict[str, Any], service: str) -> set[str]:
    return {n["text"] for n in boss.get(f"/v1/{service}/notes", params=on).get("notes", [])}


def _names(boss: Any, on: dict[str, Any], service: str) -> set[str]:
    return {f["filename"] for f in boss.get(f"/v1/{service}/attachments", params=on).get("attachments", [])}


def _with_papers(boss: Any, name: str, **fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A lead with a note, a file and an activity, and the activity."""
    lead = boss.post("/v1/leads", {"name": name, "companyName": f"用友 {uuid4()}", **fields})
    on = {"recordType": "lead", "recordId": lead["id"]}
    boss.post("/v1/leads/notes", {**on, "text": f"note of {name}"})
    boss.ask("POST", "/v1/leads/attachments", data=on, files={"file": (f"{name}.txt", b"agreed")})
    planned = {
        "kind": "ACTIVITY_KIND_CALL", "subject": "回访", "dueTime": "2030-03-17T17:46:40Z", "leadId": lead["id"]
    }  # fmt: skip
    return on, boss.post("/v1/activities", planned)


def test_what_is_on_leads_is_merged_with_them(boss: Any, eventually: Any) -> None:
    boss.sign_in()
    survivor, kept = _with_papers(boss, "甲")
    loser, moved = _with_papers(boss, "乙")
    merge = boss.post(f"/v1/leads/{survivor['recordId']}:merge", {"mergedIds": [loser["recordId"]]})
    assert _texts(boss, survivor, "leads") == {"note of 甲", "note of 乙"}
    assert _names(boss, survivor, "leads") == {"甲.txt", "乙.txt"}
    assert not _texts(boss, loser, "leads") and not _names(boss, loser, "leads")
    boss.ask("POST", "/v1/leads/notes", json={**loser, "text": "late"}, expect=409)

    def leads() -> Any:
        return [boss.get(f"/v1/activities/{one['id']}")["leadId"] for one in (kept, moved)]

    eventually(lambda: leads() == [survivor["recordId"]] * 2)
    boss.post("/v1/leads/notes", {**survivor, "text": "since"})
    boss.post(f"/v1/leadMerges/{merge['id']}:undo", {})
    assert _texts(boss, survivor, "leads") == {"note of 甲", "since"}
    assert (_texts(boss, loser, "leads"), _names(boss, loser, "leads")) == ({"note of 乙"}, {"乙.txt"})
    eventually(lambda: leads() == [survivor["recordId"], loser["recordId"]])


def test_what_is_on_an_attached_lead_is_with_its_customer_until_it_is_reopened(
    boss: Any, eventually: Any
) -> None:
    boss.sign_in()
    customers = [boss.post("/v1/customers", {"displayName": f"There {uuid4()}"})["id"] for _ in range(2)]
    first, second = ({"recordType": "customer", "recordId": id} for id in customers)
    lead, activity = _with_papers(boss, "丙", notes="from the form")
    by_hand = boss.post("/v1/activities", {
        "kind": "ACTIVITY_KIND_CALL", "subject": "both", "dueTime": "2030-03-17T17:46:40Z", "leadId": lead["recordId"],
        "customerId": customers[0],
    })  # fmt: skip
    path = f"/v1/leads/{lead['recordId']}"

    def concerned(one: dict[str, Any]) -> str:
        return boss.get(f"/v1/activities/{one['id']}").get("customerId", "")

    def is_with(customer: dict[str, Any]) -> bool:
        return (
            _texts(boss, customer, "customers") == {"note of 丙", boss.get(path)["notes"]}
            and _names(boss, customer, "customers") == {"丙.txt"}
            and concerned(activity) == customer["recordId"]
        )

    boss.post(f"{path}:attach", {"customerId": customers[0]})
    eventually(lambda: is_with(first))
    boss.ask("POST", "/v1/leads/notes", json={**lead, "text": "late"}, expect=409)
    # What somebody there has thrown away comes to the next all the same.
    there = boss.get("/v1/customers/notes", params=first)["notes"]
    stray = next(one for one in there if one["text"] == "note of 丙")
    boss.ask("DELETE", f"/v1/customers/notes/{stray['id']}")
    boss.post(f"{path}:reopen", {"note": "another customer"})
    assert boss.get(path)["notes"] != "from the form"
    eventually(lambda: not _texts(boss, first, "customers") and not _names(boss, first, "customers"))
    eventually(lambda: not concerned(activity))
    assert concerned(by_hand) == customers[0]
    # On the lead all of it stays, and it may be attached to another.
    assert _texts(boss, lead, "leads") == {"note of 丙"} and _names(boss, lead, "leads") == {"丙.txt"}
    boss.post(f"{path}:attach", {"customerId": customers[1]})
    eventually(lambda: is_with(second))
    there = boss.get("/v1/customers/notes", params=second)["notes"]
    mine = next(one for one in there if one["text"] == "note of 丙")
    boss.ask("PATCH", f"/v1/customers/notes/{mine['id']}", json={"text": "put right"})
    boss.post(f"{path}:reopen", {})
    # What somebody has worked on stays.
    eventually(lambda: _texts(boss, second, "customers") == {"put right"})


def test_what_a_lead_tells_anew_reaches_what_was_there(boss: Any, eventually: Any) -> None:
    boss.sign_in()
    customer = boss.post("/v1/customers", {"displayName": f"There {uuid4()}", "notes": "ours"})["id"]
    on = {"recordType": "customer", "recordId": customer}
    contact = boss.post("/v1/contacts", {
        "customerId": customer, "displayName": "王芳", "title": "CEO", "phones": [{"number": "+8613800138001"}],
        "emails": [{"address": "fang@example.com"}],
    })  # fmt: skip
    lead = boss.post("/v1/leads", {
        "name": "王芳", "title": "CTO", "phone": "+8613900139002", "email": "fang@example.com", "notes": "asked for a demo",
        "imAccount": "wx-fang",
    })  # fmt: skip
    cadence = boss.post("/v1/cadences", {
        "name": f"calls {uuid4()}", "active": True, "steps": [{"channel": "CONTACT_CHANNEL_PHONE", "delayDays": 1}],
    })  # fmt: skip
    boss.post(f"/v1/leads/{lead['id']}:startCadence", {"cadenceId": cadence["id"]})
    boss.post(
        f"/v1/leads/{lead['id']}:reportStep",
        {"outcome": "CADENCE_OUTCOME_NO_ANSWER", "note": "busy", "step": 1},
    )
    into = {"customerId": customer, "contactId": contact["id"]}
    failed = boss.post(
        f"/v1/leads/{lead['id']}:convert", {**into, "opportunity": {"productId": str(uuid4())}}
    )
    assert failed["state"] == "CONVERSION_STATE_FAILED"
    assert boss.get(f"/v1/contacts/{contact['id']}")["etag"] == contact["etag"]
    assert boss.post(f"/v1/leads/{lead['id']}:convert", into)["state"] == "CONVERSION_STATE_SUCCEEDED"
    numbers = eventually(
        lambda: len(found := boss.get(f"/v1/contacts/{contact['id']}")["phones"]) == 2 and found
    )
    assert [(one["number"], one.get("primary", False)) for one in numbers] == [
        ("+8613800138001", True),
        ("+8613900139002", False),
    ]
    eventually(lambda: boss.get(f"/v1/contacts/{contact['id']}").get("accounts"))
    kept = boss.get(f"/v1/contacts/{contact['id']}")
    assert [one["account"] for one in kept["accounts"]] == ["wx-fang"]
    assert ([one["address"] for one in kept["emails"]], kept["title"]) == (["fang@example.com"], "CEO")
    assert boss.get(f"/v1/customers/{customer}")["notes"] == "ours"
    assert _texts(boss, on, "customers") == {"asked for a demo\nbusy"}
    told = boss.get(f"/v1/customers/{customer}:view360")["sections"]["leads"]
    assert [(one["channel"], one["note"]) for one in told["touches"]] == [("CONTACT_CHANNEL_PHONE", "busy")]


def test_a_company_without_a_person_keeps_how_it_is_reached(boss: Any, eventually: Any) -> None:
    boss.sign_in()
    lead = boss.post("/v1/leads", {
        "companyName": f"用友 {uuid4()}", "phone": "+861062430000", "email": "info@example.com", "notes": "by post",
    })  # fmt: skip
    id = boss.post(f"/v1/leads/{lead['id']}:convert", {})["customerId"]
    customer = eventually(lambda: (found := boss.get(f"/v1/customers/{id}")).get("email") and found)
    assert (customer["phone"], customer["email"], customer["notes"]) == (
        "+861062430000", "info@example.com", "by post"
    )  # fmt: skip
    # The customer was made of the lead: what was written in it stands there already.
    assert not _texts(boss, {"recordType": "customer", "recordId": id}, "customers")


def test_a_contact_is_converted_into_at_any_of_its_customers(boss: Any) -> None:
    boss.sign_in()
    home, other, none = (
        boss.post("/v1/customers", {"displayName": f"There {uuid4()}"})["id"] for _ in range(3)
    )
    contact = boss.post("/v1/contacts", {"customerId": home, "displayName": "王芳"})["id"]
    boss.post(f"/v1/contacts/{contact}:join", {"affiliation": {"customerId": other}})
    lead = boss.post("/v1/leads", {"name": "王芳"})["id"]
    into = {"customerId": none, "contactId": contact}
    boss.ask("POST", f"/v1/leads/{lead}:convert", json=into, expect=400)
    made = boss.post(f"/v1/leads/{lead}:convert", {"customerId": other, "contactId": contact})
    assert (made["state"], made["customerId"], made["contactId"]) == (
        "CONVERSION_STATE_SUCCEEDED", other, contact
    )  # fmt: skip
