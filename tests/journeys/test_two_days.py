"""Two days of a sales assistant after a trade fair: 5,000 leads come in as they were written down, and become customers.

The first day a workbook and a colleague's text file are taken in, what was refused is put right, everything is given to sellers,
who begin to follow up, and two cards of one guest become one lead. The second day leads become customers, customers change hands
and turn out to be the same, and what was wrong is taken back.
"""

import csv
import io
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.journeys.messy_leads import (
    HEAD,
    SOURCES,
    UNKNOWN_SOURCES,
    Row,
    as_text,
    as_workbook,
    email,
    phone,
    rows,
)

pytestmark = pytest.mark.timeout(400)
SEED = 20161020
COUNT, IN_TEXT = 5_000, 600


def _imported(who: Any, name: str, content: bytes, eventually: Callable[..., Any], **options: Any) -> Any:
    file = {"file": (name, content, "application/octet-stream")}
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


def _seller(boss: Any, name: str) -> Any:
    """Somebody who sees what is their own."""
    roles = {role["name"]: role["id"] for role in boss.get("/v1/roles")["roles"]}
    mail = f"{name}@{boss.tenant}.example"
    made = boss.post("/v1/people", {"email": mail, "displayName": name, "roleIds": [roles["Member"]]})
    person = type(boss)(boss.http, boss.tenant, mail, made["oneTimePassword"]).sign_in()
    person.post(
        "/v1/me:changePassword", {"currentPassword": person.password, "newPassword": "four words of my own"}
    )
    person.password = "four words of my own"
    return person.sign_in()


def test_two_days(founded: Callable[[str], Any], eventually: Callable[..., Any]) -> None:
    boss = founded("two-days")
    sellers = {name: _seller(boss, name) for name in ("anna", "boris")}
    ids = {name: one.get("/v1/me")["person"]["id"] for name, one in sellers.items()}
    found = rows(COUNT, [f"{name}@{boss.tenant}.example" for name in sellers], SEED)
    _first_day(boss, found, ids, sellers, eventually)
    _cleaned(boss)
    _second_day(boss, sellers, ids, eventually)


def _first_day(
    boss: Any, found: list[Row], ids: dict[str, str], sellers: dict[str, Any], eventually: Callable[..., Any]
) -> None:
    # What the fair asked that no CRM knows becomes a field.
    visited = {
        "recordType": "lead",
        "key": "visited",
        "labelZh": "接待日期",
        "labelEn": "Visited",
        "kind": "CUSTOM_FIELD_KIND_DATE",
    }
    boss.post("/v1/leads/customFields", {**visited, "filterable": True})
    words = [{"field": "source", "text": text, "value": SOURCES[text]} for text in UNKNOWN_SOURCES]
    whole, rest = found[:-IN_TEXT], found[-IN_TEXT:]
    run = _imported(boss, "名单.xlsx", as_workbook(whole), eventually, values=words)
    assert _counted(run) == _fates(whole)
    boss.sign_in()
    # The same head: what the words mean is known by now. GBK, semicolons, and no invisible characters.
    second = _imported(boss, "名单2.csv", as_text(rest, "gb18030"), eventually)
    assert (second["encoding"], second["delimiter"], second["mappingRemembered"]) == ("gb18030", ";", True)
    assert _counted(second) == _fates(rest)

    # Ten spellings of a number are one, five of a day, and blanks of any kind are none.
    boss.sign_in()
    leads = {lead["email"]: lead for lead in _leads(boss, orderBy="createTime")}
    made = [row for row in found if row.fate == "created"]
    assert leads.keys() == {email(row.person) for row in made}
    for row in made:
        lead = leads[email(row.person)]
        assert lead["phone"] == phone(row.person)
        assert (
            lead["name"] == row.cells[0].strip("\u200b\u3000\u00a0\t ")
            and "\u200b" not in lead["companyName"]
        )
        assert lead.get("source", "").removeprefix("LEAD_SOURCE_") in (SOURCES[row.cells[6]], "OTHER")
        assert lead["customFields"]["visited"][5:7] == f"{_month(row):02}"
        assert lead.get("ownerId") == ids.get(row.cells[9].partition("@")[0], lead["creatorId"])

    # What was refused says why; put right, it comes in.
    answer = boss.http.get(f"/v1/leads/imports/{run['id']}/refusedRows", headers=boss.headers)
    refused = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline="")))
    refused = [row for row in refused if row["Verdict"] == "refused"]
    assert len(refused) == _fates(whole)["refused"]
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
    third = _imported(boss, "改正.csv", mended.getvalue().encode(), eventually)
    assert _counted(third) == {"created": len(refused), "skipped": 0, "refused": 0}
    # Once more by mistake: nobody is there twice.
    again = _imported(
        boss, "改正.csv", mended.getvalue().encode(), eventually, duplicates="DUPLICATE_POLICY_SKIP"
    )
    assert again.get("createdRows", 0) == len(
        [row for row in refused if not (row["手机号码"] or row["电子邮箱"])]
    )
    boss.sign_in()
    boss.post(f"/v1/leads/imports/{again['id']}:undo")
    eventually(lambda: boss.get(f"/v1/leads/imports/{again['id']}")["state"] == "IMPORT_STATE_UNDONE")

    _follow_up(boss, ids, sellers, eventually)


def _month(row: Row) -> int:
    written = row.cells[8]
    if "年" in written:
        return int(written[5:].partition("月")[0])
    if written[2] == ".":
        return int(written[3:5])
    if written.startswith("2026"):
        return int(written.replace("/", "-").split("-")[1])
    months = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    return months.index(written.split()[1]) + 1


def _follow_up(
    boss: Any, ids: dict[str, str], sellers: dict[str, Any], eventually: Callable[..., Any]
) -> None:
    """What names nobody goes to the sellers in turn, and each works on a few."""
    boss.sign_in()
    boss.post(
        "/v1/assignmentRules",
        {"name": "展会", "active": True, "condition": "source = EXHIBITION", "personIds": list(ids.values())},
    )
    steps = [
        {"channel": "CONTACT_CHANNEL_EMAIL", "hintZh": "感谢来访"},
        {"channel": "CONTACT_CHANNEL_PHONE", "delayDays": 2},
    ]
    cadence = boss.post("/v1/cadences", {"name": "展会跟进", "active": True, "steps": steps})
    me = boss.get("/v1/me")["person"]["id"]
    mine = _leads(boss, filter=f'ownerId = "{me}" AND source = EXHIBITION')[:40]
    decisions = boss.post("/v1/leads:assignByRules", {"ids": [lead["id"] for lead in mine]})["decisions"]
    assert {one["outcome"] for one in decisions} == {"RULE_OUTCOME_ASSIGNED"}
    given = Counter(boss.get(f"/v1/leads/{lead['id']}")["ownerId"] for lead in mine)
    assert given.keys() == set(ids.values()) and max(given.values()) - min(given.values()) <= 1
    anna = sellers["anna"].sign_in()
    for lead in _leads(anna, filter="source = EXHIBITION")[:5]:
        path = f"/v1/leads/{lead['id']}"
        anna.post(f"{path}:startCadence", {"cadenceId": cadence["id"]})
        said = anna.post(f"{path}:reportStep", {"outcome": "CADENCE_OUTCOME_SENT", "step": 1})
        assert (said["cadenceStep"], said["nextContactChannel"]) == (2, "CONTACT_CHANNEL_PHONE")


def _cleaned(boss: Any) -> None:
    """Two cards of one guest, written by two hands, are found and become one lead; by hand it is done the other way round."""
    boss.sign_in()
    elder = boss.post("/v1/leads", {"name": "赵敏", "phone": "+8613911112222", "tags": ["cards"]})["id"]
    card = {"name": "赵 敏", "phone": "139 1111 2222", "email": "zhao@example.com", "tags": ["cards"]}
    younger = boss.post("/v1/leads", card)["id"]
    written = {"recordType": "lead", "recordId": younger, "text": "想看演示"}
    boss.post("/v1/leads/notes", written)
    found = boss.get("/v1/leads/cleaningFindings", params={"filter": "tags:cards"})["findings"]
    proposal = next(one["proposal"] for one in found if one["lead"]["id"] == younger)
    assert (proposal["action"], proposal["survivorId"]) == ("CLEANING_ACTION_MERGE", elder)
    (done,) = boss.post("/v1/leads:clean", {"steps": [proposal]})["outcomes"]
    assert done["done"], done
    assert boss.get(f"/v1/leads/{elder}")["email"] == "zhao@example.com"
    assert boss.get(f"/v1/leads/{younger}")["duplicateOfLeadId"] == elder
    assert _notes(boss, elder) == ["想看演示"] and not _notes(boss, younger)
    boss.post(f"/v1/leadMerges/{done['mergeId']}:undo")
    assert "email" not in boss.get(f"/v1/leads/{elder}") and _notes(boss, younger) == ["想看演示"]
    merged = {"mergedIds": [elder], "fieldChoices": {"name": elder}}
    assert boss.post(f"/v1/leads/{younger}:merge", merged)["state"] == "LEAD_MERGE_STATE_MERGED"
    assert boss.get(f"/v1/leads/{younger}")["name"] == "赵敏" and _notes(boss, younger) == ["想看演示"]
    again = boss.get("/v1/leads/cleaningFindings", params={"filter": "tags:cards"}).get("findings", [])
    assert not [one for one in again if one.get("proposal", {}).get("action") == "CLEANING_ACTION_MERGE"]


def _notes(who: Any, lead: str) -> list[str]:
    on = {"recordType": "lead", "recordId": lead}
    return [one["text"] for one in who.get("/v1/leads/notes", params=on).get("notes", [])]


def _second_day(
    boss: Any, sellers: dict[str, Any], ids: dict[str, str], eventually: Callable[..., Any]
) -> None:
    anna, boris = sellers["anna"].sign_in(), sellers["boris"].sign_in()
    boss.sign_in()
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
    eventually(lambda: boss.get(f"/v1/leads/{third['id']}")["customerId"] == customer)
    anna.post(f"/v1/merges/{merge['id']}:undo")
    eventually(lambda: boss.get(f"/v1/leads/{third['id']}")["customerId"] == other)

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
    looked = boss.post("/v1/customers:transfer", {**everything, "validateOnly": True})
    assert (looked["transferredCount"], looked["opportunityCount"]) == (2, 1)
    assert boss.post("/v1/customers:transfer", everything)["transferredCount"] == 2
    anna.ask("GET", f"/v1/customers/{customer}", expect=404)
    eventually(lambda: boss.get(f"/v1/opportunities/{made['opportunityId']}")["ownerId"] == ids["boris"])
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
    seen = boss.post("/v1/customers/bulkEdits:preview", change)
    assert seen["count"] == 2, seen
    edit = boss.post("/v1/customers/bulkEdits", change)["id"]
    path = f"/v1/customers/bulkEdits/{edit}"
    eventually(lambda: boss.get(path)["state"] == "BULK_EDIT_STATE_SUCCEEDED")
    assert "展会2026" in boss.get(f"/v1/customers/{customer}")["tags"]
    boss.post(f"{path}:undo")
    eventually(lambda: boss.get(path)["state"] == "BULK_EDIT_STATE_UNDONE")
    assert "展会2026" not in boss.get(f"/v1/customers/{customer}").get("tags", [])

    _taken_back(boss, eventually)


def _told(person: Any, kind: str) -> list[Any]:
    return [one for one in person.get("/v1/notifications").get("notifications", []) if one["kind"] == kind]


def _taken_back(boss: Any, eventually: Callable[..., Any]) -> None:
    """The colleague's list was last year's: what nobody has worked on goes, the rest stays and is told."""
    run = next(
        one
        for one in boss.get("/v1/leads/imports", params={"pageSize": 50})["imports"]
        if one["filename"] == "名单2.csv"
    )
    path = f"/v1/leads/imports/{run['id']}"
    boss.post(f"{path}:undo")
    ended = eventually(lambda: (now := boss.get(path))["state"] == "IMPORT_STATE_UNDONE" and now, 120)
    assert ended["undoneRecords"] + ended.get("keptRecords", 0) == ended["createdRows"]
    kept = boss.http.get(f"{path}/keptRecords", headers=boss.headers).text
    assert kept.count("\n") >= ended.get("keptRecords", 0)
