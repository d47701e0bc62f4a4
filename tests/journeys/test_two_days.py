"""Two days of a sales assistant after a trade fair: 5,000 leads come in as they were written down, and become customers.

The administrator makes her role and the settings; all else she does herself, with the rights that such a person has, or the
sellers do. The first day a workbook is taken in, what was refused is put right, a colleague's text file comes in as it is and
is cleaned, everything is given to sellers, who begin to follow up. The second day they go on where it is due, leads become
customers, customers change hands and turn out to be the same, and what was wrong is taken back.
"""

import csv
import io
from collections import Counter
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from kehu_local.suite import Suite
from proof import found as found_in
from tests.journeys.messy_leads import (
    HEAD,
    SOURCES,
    UNKNOWN_SOURCES,
    Row,
    as_text,
    as_workbook,
    email,
    firm,
    name,
    phone,
    rows,
)

pytestmark = pytest.mark.timeout(400)
SEED = 20161020
COUNT, IN_TEXT = 5_000, 200
_ASSISTANT = ("LEADS", "CUSTOMERS", "OPPORTUNITIES")
"""What she may read and change, whosever it is: she keeps the lists, and gives away what somebody leaves behind."""


def _imported(who: Any, filename: str, content: bytes, eventually: Callable[..., Any], **options: Any) -> Any:
    file = {"file": (filename, content, "application/octet-stream")}
    made = who.ask("POST", "/v1/leads/imports", data={"recordType": "lead"}, files=file)
    path = f"/v1/leads/imports/{made['id']}"
    assert len(made["proposedMapping"]) == len(HEAD), made["proposedMapping"]
    who.post(f"{path}:start", {"duplicates": "DUPLICATE_POLICY_SKIP", **options})
    return eventually(lambda: (now := who.get(path)).get("endTime") and now, 240)


def _counted(run: Any) -> dict[str, int]:
    return {fate: run.get(f"{fate}Rows", 0) for fate in ("created", "skipped", "refused")}


def _fates(found: list[Row]) -> dict[str, int]:
    return {fate: sum(1 for row in found if row.fate == fate) for fate in ("created", "skipped", "refused")}


def _leads(who: Any, **asked: Any) -> list[Any]:
    found: list[Any] = []
    token = ""
    while True:
        page = who.get("/v1/leads", params={"pageSize": 200, "pageToken": token, **asked})
        found += page.get("leads", [])
        token = page.get("nextPageToken", "")
        if not token:
            return found


def _person(boss: Any, called: str, role: str) -> Any:
    """Somebody with that role, who has chosen a password."""
    mail = f"{called}@{boss.tenant}.example"
    made = boss.post("/v1/people", {"email": mail, "displayName": called, "roleIds": [role]})
    person = type(boss)(boss.http, boss.tenant, mail, made["oneTimePassword"]).sign_in()
    person.post(
        "/v1/me:changePassword", {"currentPassword": person.password, "newPassword": "four words of my own"}
    )
    person.password = "four words of my own"
    return person.sign_in()


def test_two_days(suite: Suite, founded: Callable[[str], Any], eventually: Callable[..., Any]) -> None:
    boss = founded("two-days")
    member = next(role["id"] for role in boss.get("/v1/roles")["roles"] if role["name"] == "Member")
    sellers = {called: _person(boss, called, member) for called in ("anna", "boris")}
    ids = {called: one.get("/v1/me")["person"]["id"] for called, one in sellers.items()}
    rights = [
        {"resource": f"RIGHT_RESOURCE_{one}", "read": "REACH_ALL", "write": "REACH_ALL"} for one in _ASSISTANT
    ]
    role = boss.post("/v1/roles", {"name": "Sales assistant", "rights": rights})["id"]
    assistant = _person(boss, "carla", role)
    cadence = _settings(boss, assistant, ids)
    found = rows(COUNT + IN_TEXT, [one.email for one in sellers.values()], SEED)
    _first_day(assistant, found[:COUNT], ids, eventually)
    twice = _colleagues_list(assistant, found[COUNT:], eventually)
    _cleaned(assistant)
    followed = _follow_up(assistant, ids, sellers, cadence)
    _next_day(suite, assistant, sellers["anna"].sign_in(), ids["anna"], followed)
    _second_day(assistant, sellers, ids, eventually)
    _taken_back(assistant, twice, eventually)


def _settings(boss: Any, assistant: Any, ids: dict[str, str]) -> str:
    """What the administrator sees to, and the assistant may not: the cadence."""
    # What the fair asked that no CRM knows becomes a field.
    visited = {
        "recordType": "lead",
        "key": "visited",
        "labelZh": "接待日期",
        "labelEn": "Visited",
        "kind": "CUSTOM_FIELD_KIND_DATE",
        "filterable": True,
    }
    steps = [
        {"channel": "CONTACT_CHANNEL_EMAIL", "hintZh": "感谢来访"},
        {"channel": "CONTACT_CHANNEL_PHONE", "delayDays": 1},
        {"channel": "CONTACT_CHANNEL_VISIT", "delayDays": 7},
    ]
    rule = {
        "name": "展会",
        "active": True,
        "condition": "source = EXHIBITION",
        "personIds": list(ids.values()),
    }
    cadence = {"name": "展会跟进", "active": True, "steps": steps}
    for path, body in (
        ("/v1/leads/customFields", visited),
        ("/v1/assignmentRules", rule),
        ("/v1/cadences", cadence),
    ):
        assistant.post(path, body, expect=403)
    assistant.ask("GET", "/v1/people", expect=403)
    boss.post("/v1/leads/customFields", visited)
    boss.post("/v1/assignmentRules", rule)
    return boss.post("/v1/cadences", cadence)["id"]


def _first_day(assistant: Any, found: list[Row], ids: dict[str, str], eventually: Callable[..., Any]) -> None:
    words = [{"field": "source", "text": text, "value": SOURCES[text]} for text in UNKNOWN_SOURCES]
    run = _imported(assistant, "名单.xlsx", as_workbook(found), eventually, values=words)
    assert _counted(run) == _fates(found) and run["totalRows"] == COUNT

    # Ten spellings of a number are one, five of a day; blanks of any kind are none, and letters and digits of full width others.
    me = assistant.sign_in().get("/v1/me")["person"]["id"]
    leads = {lead["email"]: lead for lead in _leads(assistant, orderBy="createTime")}
    made = [row for row in found if row.fate == "created"]
    assert leads.keys() == {email(row.person) for row in made}
    for row in made:
        lead = leads[email(row.person)]
        assert lead["phone"] == phone(row.person)
        assert lead["name"] == name(row.person)
        assert lead["companyName"].replace("(", "（").replace(")", "）") == firm(row.person)
        assert lead.get("source", "").removeprefix("LEAD_SOURCE_") in (SOURCES[row.cells[6]], "OTHER")
        assert lead["customFields"]["visited"] == row.day, row.cells
        assert lead.get("ownerId") == ids.get(row.cells[9].partition("@")[0], me)

    # What was refused says why; put right, it comes in.
    answer = assistant.http.get(f"/v1/leads/imports/{run['id']}/refusedRows", headers=assistant.headers)
    refused = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline="")))
    refused = [row for row in refused if row["Verdict"] == "refused"]
    assert len(refused) == _fates(found)["refused"]
    why = Counter(row["Reasons"].partition(":")[0] for row in refused)
    assert why.keys() == {"name", "phone", "email", "estimatedAmount"}
    for place, row in enumerate(refused):
        row["姓名"] = row["姓名"].strip() or f"访客{place}"
        row["手机号码"] = "" if row["手机号码"] == "见名片" else row["手机号码"]
        row["电子邮箱"] = "" if row["电子邮箱"] == "无" else row["电子邮箱"]
        row["预计金额"] = "" if row["预计金额"] == "面议" else row["预计金额"]
    mended = io.StringIO(newline="")
    writer = csv.DictWriter(mended, HEAD, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(refused)
    # The same head: what the words mean is known by now.
    second = _imported(assistant, "改正.csv", mended.getvalue().encode(), eventually)
    assert _counted(second) == {"created": len(refused), "skipped": 0, "refused": 0}
    assert second["mappingRemembered"]
    # Once more by mistake: nobody is there twice.
    again = _imported(assistant, "改正.csv", mended.getvalue().encode(), eventually)
    assert again.get("createdRows", 0) == len(
        [row for row in refused if not (row["手机号码"] or row["电子邮箱"])]
    )
    path = f"/v1/leads/imports/{again['id']}"
    assistant.post(f"{path}:undo")
    eventually(lambda: assistant.get(path)["state"] == "IMPORT_STATE_UNDONE")


def _colleagues_list(assistant: Any, found: list[Row], eventually: Callable[..., Any]) -> int:
    """GBK, semicolons. Whoever was on the other list, too, is known again; all the same they come in twice, and what is kept of
    whom is looked at afterwards. Answers how many were merged."""
    known = _imported(assistant, "名单2.csv", as_text(found, "gb18030"), eventually)
    assert _counted(known) == _fates(found)
    path = f"/v1/leads/imports/{known['id']}"
    assistant.post(f"{path}:undo")
    eventually(lambda: assistant.get(path)["state"] == "IMPORT_STATE_UNDONE")
    create = {"duplicates": "DUPLICATE_POLICY_CREATE"}
    run = _imported(assistant, "名单2.csv", as_text(found, "gb18030"), eventually, **create)
    assert (run["encoding"], run["delimiter"], run["mappingRemembered"]) == ("gb18030", ";", True)
    fates = _fates(found)
    assert _counted(run) == {**fates, "created": fates["created"] + fates["skipped"], "skipped": 0}
    twice = [row for row in found if row.fate == "skipped"]
    assert len(twice) > 10
    merges = _mergers(assistant, run["startTime"])
    assert len(merges) == len(twice)
    outcomes = assistant.post("/v1/leads:clean", {"steps": merges})["outcomes"]
    assert all(one["done"] for one in outcomes), outcomes
    for row in twice:
        there = {
            lead["id"]: lead
            for asked in ({"filter": f'email = "{email(row.person)}"'}, {"query": phone(row.person)[3:]})
            for lead in _leads(assistant, **asked)
            if lead["status"] != "LEAD_STATUS_DISQUALIFIED"
        }
        assert [(one["name"], one["phone"], one["email"]) for one in there.values()] == [
            (name(row.person), phone(row.person), email(row.person))
        ]
    assert _mergers(assistant, run["startTime"]) == []
    return len(twice)


def _mergers(who: Any, since: str) -> list[Any]:
    """What is proposed to be merged of the leads that have come in since."""
    found: list[Any] = []
    token = ""
    while True:
        asked = {"filter": f"createTime >= {since}", "pageSize": 50, "pageToken": token}
        page = who.get("/v1/leads/cleaningFindings", params=asked)
        found += [one["proposal"] for one in page.get("findings", []) if "proposal" in one]
        token = page.get("nextPageToken", "")
        if not token:
            return [one for one in found if one["action"] == "CLEANING_ACTION_MERGE"]


def _follow_up(assistant: Any, ids: dict[str, str], sellers: dict[str, Any], cadence: str) -> list[str]:
    """What names nobody goes to the sellers in turn, and Anna begins with a few, whose ids are the answer."""
    me = assistant.sign_in().get("/v1/me")["person"]["id"]
    mine = _leads(assistant, filter=f'ownerId = "{me}" AND source = EXHIBITION AND status = NEW')[:40]
    decisions = assistant.post("/v1/leads:assignByRules", {"ids": [lead["id"] for lead in mine]})["decisions"]
    assert {one["outcome"] for one in decisions} == {"RULE_OUTCOME_ASSIGNED"}
    given = Counter(assistant.get(f"/v1/leads/{lead['id']}")["ownerId"] for lead in mine)
    assert given.keys() == set(ids.values()) and max(given.values()) - min(given.values()) <= 1
    anna = sellers["anna"].sign_in()
    begun = [lead["id"] for lead in _leads(anna, filter="source = EXHIBITION AND status = NEW")[:6]]
    for id in begun:
        anna.post(f"/v1/leads/{id}:startCadence", {"cadenceId": cadence})
    assert _overdue(anna) == set(begun)  # the first step is due at once
    for id in begun[:5]:
        said = anna.post(f"/v1/leads/{id}:reportStep", {"outcome": "CADENCE_OUTCOME_SENT", "step": 1})
        assert (said["cadenceStep"], said["nextContactChannel"]) == (2, "CONTACT_CHANNEL_PHONE")
    assert _overdue(anna) == {begun[5]}  # she goes home before she comes to the last
    return begun


def _overdue(who: Any) -> set[str]:
    due = who.get("/v1/leads:due", params={"when": "DUE_WHEN_OVERDUE", "pageSize": 200}).get("leads", [])
    return {lead["id"] for lead in due}


def _next_day(suite: Suite, assistant: Any, anna: Any, owner: str, begun: list[str]) -> None:
    """A night passes; what waits is worked on."""
    night = (
        "UPDATE leads SET next_contact_time = next_contact_time - interval '25 hours' WHERE owner_id = $1"
        " AND next_contact_time IS NOT NULL"
    )
    found_in.rows(suite, "leads", night, UUID(owner))
    assert _overdue(anna) == set(begun)
    assert _overdue(assistant) == set(begun)  # she sees whose work waits
    for id, outcome in zip(begun[:3], ("NO_ANSWER", "REACHED", "REACHED"), strict=True):
        told = {"outcome": f"CADENCE_OUTCOME_{outcome}", "step": 2, "note": "打了电话"}
        said = anna.post(f"/v1/leads/{id}:reportStep", told)
        assert (said["cadenceStep"], said["nextContactChannel"]) == (3, "CONTACT_CHANNEL_VISIT")
    late = anna.post(f"/v1/leads/{begun[5]}:reportStep", {"outcome": "CADENCE_OUTCOME_SENT", "step": 1})
    assert late["cadenceStep"] == 2
    assert _overdue(anna) == set(begun[3:5])
    touches = anna.get(f"/v1/leads/{begun[1]}/touches")["touches"]
    assert sorted(one["step"] for one in touches) == [1, 2]


def _cleaned(assistant: Any) -> None:
    """Two cards of one guest that were left over, written by two hands, are found and become one lead; by hand it is done the
    other way round."""
    assistant.sign_in()
    elder = assistant.post("/v1/leads", {"name": "赵敏", "phone": "+8613911112222", "tags": ["cards"]})["id"]
    card = {"name": "赵 敏", "phone": "139 1111 2222", "email": "zhao@example.com", "tags": ["cards"]}
    younger = assistant.post("/v1/leads", card)["id"]
    written = {"recordType": "lead", "recordId": younger, "text": "想看演示"}
    assistant.post("/v1/leads/notes", written)
    found = assistant.get("/v1/leads/cleaningFindings", params={"filter": "tags:cards"})["findings"]
    proposal = next(one["proposal"] for one in found if one["lead"]["id"] == younger)
    assert (proposal["action"], proposal["survivorId"]) == ("CLEANING_ACTION_MERGE", elder)
    (done,) = assistant.post("/v1/leads:clean", {"steps": [proposal]})["outcomes"]
    assert done["done"], done
    assert assistant.get(f"/v1/leads/{elder}")["email"] == "zhao@example.com"
    assert assistant.get(f"/v1/leads/{younger}")["duplicateOfLeadId"] == elder
    assert _notes(assistant, elder) == ["想看演示"] and not _notes(assistant, younger)
    assistant.post(f"/v1/leadMerges/{done['mergeId']}:undo")
    assert "email" not in assistant.get(f"/v1/leads/{elder}") and _notes(assistant, younger) == ["想看演示"]
    merged = {"mergedIds": [elder], "fieldChoices": {"name": elder}}
    assert assistant.post(f"/v1/leads/{younger}:merge", merged)["state"] == "LEAD_MERGE_STATE_MERGED"
    assert assistant.get(f"/v1/leads/{younger}")["name"] == "赵敏" and _notes(assistant, younger) == [
        "想看演示"
    ]
    again = assistant.get("/v1/leads/cleaningFindings", params={"filter": "tags:cards"}).get("findings", [])
    assert not [one for one in again if one.get("proposal", {}).get("action") == "CLEANING_ACTION_MERGE"]


def _notes(who: Any, lead: str) -> list[str]:
    on = {"recordType": "lead", "recordId": lead}
    return [one["text"] for one in who.get("/v1/leads/notes", params=on).get("notes", [])]


def _second_day(
    assistant: Any, sellers: dict[str, Any], ids: dict[str, str], eventually: Callable[..., Any]
) -> None:
    anna, boris = sellers["anna"].sign_in(), sellers["boris"].sign_in()
    assistant.sign_in()
    # Three guests of one company: the first makes the customer, the others join it.
    first, second, third, *_ = _leads(anna, filter="status = NEW", orderBy="createTime")
    made = anna.post(f"/v1/leads/{first['id']}:convert", {"opportunity": {"name": "年度采购"}})
    customer = made["customerId"]
    joined = anna.post(f"/v1/leads/{second['id']}:convert", {"customerId": customer})
    assert joined["customerId"] == customer and joined["contactId"] != made["contactId"]
    people = anna.get("/v1/contacts", params={"filter": f'customerId = "{customer}"'})["contacts"]
    assert len(people) == 2
    boris.ask("GET", f"/v1/customers/{customer}", expect=404)
    # The third was made a customer of its own by mistake: merged, and taken apart again.
    other = anna.post(f"/v1/leads/{third['id']}:convert")["customerId"]
    merge = anna.post(f"/v1/customers/{customer}:merge", {"mergedIds": [other]})
    eventually(lambda: assistant.get(f"/v1/leads/{third['id']}")["customerId"] == customer)
    anna.post(f"/v1/merges/{merge['id']}:undo")
    eventually(lambda: assistant.get(f"/v1/leads/{third['id']}")["customerId"] == other)

    # Boris is asked for help: he is mentioned, and may read the customer until it is taken from him.
    anna.post(f"/v1/customers/{customer}:share", {"personId": ids["boris"], "access": "SHARE_ACCESS_READ"})
    asked = {
        "recordType": "customer",
        "recordId": customer,
        "text": "你认识他们吗？",
        "mentionedIds": [ids["boris"]],
    }
    anna.post("/v1/customers/notes", asked)
    mentioned = eventually(lambda: _told(boris, "NOTIFICATION_KIND_MENTIONED"))
    assert mentioned[0]["recordId"] == customer
    assert boris.get(f"/v1/customers/{customer}")["displayName"]
    boris.ask("PATCH", f"/v1/customers/{customer}", json={"notes": "mine"}, expect=403)
    anna.post(f"/v1/customers/{customer}:unshare", {"personId": ids["boris"]})
    boris.ask("GET", f"/v1/customers/{customer}", expect=404)

    # Anna goes on leave: what is hers goes to Boris with the open deals, after a look at how much that is.
    everything = {"filter": f'ownerId = "{ids["anna"]}"', "ownerId": ids["boris"], "withOpportunities": True}
    looked = assistant.post("/v1/customers:transfer", {**everything, "validateOnly": True})
    assert (looked["transferredCount"], looked["opportunityCount"]) == (2, 1)
    assert assistant.post("/v1/customers:transfer", everything)["transferredCount"] == 2
    anna.ask("GET", f"/v1/customers/{customer}", expect=404)
    eventually(lambda: assistant.get(f"/v1/opportunities/{made['opportunityId']}")["ownerId"] == ids["boris"])
    # One of them is nothing for him; Anna takes it back out of the pool when she returns.
    boris.post(f"/v1/customers/{other}:return", {"reason": "不在我的区域"})
    assert other in [one["id"] for one in anna.get("/v1/customers:pool")["customers"]]
    assert anna.post(f"/v1/customers/{other}:claim")["ownerId"] == ids["anna"]

    # Everybody from the fair is marked at once, and the mark is taken off again.
    change = {
        "recordType": "customer",
        "ids": [customer, other],
        "change": {"addTags": ["展会2026"]},
    }
    seen = assistant.post("/v1/customers/bulkEdits:preview", change)
    assert seen["count"] == 2, seen
    edit = assistant.post("/v1/customers/bulkEdits", change)["id"]
    path = f"/v1/customers/bulkEdits/{edit}"
    eventually(lambda: assistant.get(path)["state"] == "BULK_EDIT_STATE_SUCCEEDED")
    assert "展会2026" in assistant.get(f"/v1/customers/{customer}")["tags"]
    assistant.post(f"{path}:undo")
    eventually(lambda: assistant.get(path)["state"] == "BULK_EDIT_STATE_UNDONE")
    assert "展会2026" not in assistant.get(f"/v1/customers/{customer}").get("tags", [])


def _told(person: Any, kind: str) -> list[Any]:
    return [one for one in person.get("/v1/notifications").get("notifications", []) if one["kind"] == kind]


def _taken_back(assistant: Any, merged: int, eventually: Callable[..., Any]) -> None:
    """The colleague's list was last year's: what nobody has worked on goes, the rest stays and is told."""
    run = next(
        one
        for one in assistant.get("/v1/leads/imports", params={"pageSize": 50})["imports"]
        if one["filename"] == "名单2.csv" and one["state"] == "IMPORT_STATE_SUCCEEDED"
    )
    # While it ran, nothing else came in.
    of_it = {"filter": f"createTime >= {run['startTime']} AND createTime <= {run['endTime']}"}
    assert len(_leads(assistant, **of_it)) == run["createdRows"]
    path = f"/v1/leads/imports/{run['id']}"
    assistant.post(f"{path}:undo")
    ended = eventually(lambda: (now := assistant.get(path))["state"] == "IMPORT_STATE_UNDONE" and now, 120)
    assert ended["undoneRecords"] + ended["keptRecords"] == ended["createdRows"]
    answer = assistant.http.get(f"{path}/keptRecords", headers=assistant.headers)
    kept = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline="")))
    assert len(kept) == ended["keptRecords"] >= merged > 0
    assert {row["Reason"] for row in kept} <= {"CHANGED_SINCE", "LEAD_CONVERTED"}
    assert {lead["id"] for lead in _leads(assistant, **of_it)} == {row["Record"] for row in kept}
