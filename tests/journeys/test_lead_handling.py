"""Two sellers and their leads through the gateway: given in turn, accepted, returned, claimed, followed up and scored; and what
leads does by itself, while it is killed."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from kehu_local.suite import Suite

pytestmark = pytest.mark.timeout(240)


def test_two_sellers_and_their_leads(
    boss: Any, colleague: Callable[[str], Any], eventually: Callable[..., Any]
) -> None:
    sellers = [colleague("Member") for _ in range(2)]
    names = {one.get("/v1/me")["person"]["id"]: one for one in sellers}
    boss.sign_in()
    rule = boss.post(
        "/v1/assignmentRules",
        {
            "name": "华东网站线索",
            "active": True,
            "condition": 'region = "华东" AND source = WEB_FORM',
            "personIds": list(names),
            "acceptMinutes": 30,
        },
    )
    cadence = boss.post(
        "/v1/cadences",
        {
            "name": "新线索",
            "active": True,
            "automatic": True,
            "condition": 'region = "华东"',
            "steps": [
                {"channel": "CONTACT_CHANNEL_EMAIL", "hintZh": "自我介绍", "hintEn": "Introduce yourself"},
                {"channel": "CONTACT_CHANNEL_PHONE", "delayDays": 2},
            ],
        },
    )
    points = boss.post(
        "/v1/scoreRules", {"name": "华东", "active": True, "condition": 'region = "华东"', "points": 40}
    )
    try:
        made = [
            boss.post("/v1/leads", {"name": f"访客 {n}", "region": "华东", "source": "LEAD_SOURCE_WEB_FORM"})
            for n in range(2)
        ]

        def given() -> Any:
            now = [boss.get(f"/v1/leads/{lead['id']}") for lead in made]
            return all(lead.get("acceptance") for lead in now) and now

        now = eventually(given)
        assert {lead["ownerId"] for lead in now} == set(names)
        assert {lead["assignmentRuleName"] for lead in now} == {"华东网站线索"}
        lead = now[0]
        owner, other = names[lead["ownerId"]], next(p for i, p in names.items() if i != lead["ownerId"])
        why = owner.get(f"/v1/leads/{lead['id']}/score")
        assert (why["score"], [part["ruleName"] for part in why["parts"]]) == (40, ["华东"])
        assert owner.post(f"/v1/leads/{lead['id']}:accept")["acceptance"] == "ACCEPTANCE_STATE_ACCEPTED"

        # The first step is due at once, the second the day after tomorrow.
        overdue = owner.get("/v1/leads:due", params={"when": "DUE_WHEN_OVERDUE"})["leads"]
        assert lead["id"] in [one["id"] for one in overdue]
        said = {"outcome": "CADENCE_OUTCOME_SENT", "note": "已发邮件", "step": 1}
        step = owner.post(f"/v1/leads/{lead['id']}:reportStep", said, key="step-1")
        assert owner.post(f"/v1/leads/{lead['id']}:reportStep", said, key="step-1") == step
        assert (step["cadenceStep"], step["nextContactChannel"]) == (2, "CONTACT_CHANNEL_PHONE")
        touches = owner.get(f"/v1/leads/{lead['id']}/touches")["touches"]
        assert [one["note"] for one in touches] == ["已发邮件"]

        # Returned, offered to the other, who returns it, too; then whoever wants it takes it from the pool.
        owner.post(f"/v1/leads/{lead['id']}:return", {"reason": "要出差"})
        passed_on = eventually(
            lambda: (one := boss.get(f"/v1/leads/{lead['id']}")).get("ownerId") not in (None, lead["ownerId"]) and one
        )  # fmt: skip
        assert passed_on["assignmentCause"] == "ASSIGNMENT_CAUSE_PASSED_ON"
        other.post(f"/v1/leads/{lead['id']}:return", {"reason": "不熟悉"})

        def in_pool() -> bool:
            found = owner.get("/v1/leads:pool", params={"filter": 'region = "华东"'}).get("leads", [])
            return [one["id"] for one in found] == [lead["id"]]

        eventually(in_pool)
        owner.post(f"/v1/leads/{lead['id']}:claim")
        other.ask("POST", f"/v1/leads/{lead['id']}:claim", json={}, expect=404)
        boss.ask("POST", f"/v1/leads/{lead['id']}:claim", json={}, expect=409)
        body = {"ids": [lead["id"]]}
        (decision,) = boss.post("/v1/leads:assignByRules", body)["decisions"]
        assert decision["outcome"] == "RULE_OUTCOME_ASSIGNED" and decision["ruleId"] == rule["id"]
        owner.ask("POST", "/v1/scoreRules", json={"name": "x", "points": 1}, expect=403)
    finally:
        boss.sign_in()
        boss.ask("DELETE", f"/v1/assignmentRules/{rule['id']}")
        boss.ask("DELETE", f"/v1/scoreRules/{points['id']}")
        boss.ask("PATCH", f"/v1/cadences/{cadence['id']}", params={"updateMask": "automatic"}, json={})


def test_what_a_leader_does_by_hand(boss: Any, colleague: Callable[[str], Any]) -> None:
    seller = colleague("Member")
    me = seller.get("/v1/me")["person"]["id"]
    boss.sign_in()
    away = {"fromTime": "2031-10-01T00:00:00Z", "untilTime": "2031-10-08T00:00:00Z", "note": "国庆"}
    absence = seller.post("/v1/absences", away)
    assert absence["ownerId"] == me
    assert absence["id"] in [
        one["id"] for one in boss.get("/v1/absences", params={"pageSize": 200})["absences"]
    ]
    backwards = {**away, "untilTime": away["fromTime"]}
    wrong = seller.ask("POST", "/v1/absences", json=backwards, expect=400)
    assert [v["field"] for v in wrong["violations"]] == ["absence.untilTime"]
    seller.ask("DELETE", f"/v1/absences/{absence['id']}")
    seller.ask("GET", f"/v1/absences/{absence['id']}", expect=404)

    steps = [
        {"channel": "CONTACT_CHANNEL_PHONE", "hintZh": "介绍产品"},
        {"channel": "CONTACT_CHANNEL_VISIT", "delayDays": 3},
    ]
    cadence = boss.post("/v1/cadences", {"name": "手工", "active": True, "steps": steps})
    lead = f"/v1/leads/{boss.post('/v1/leads', {'name': '孙七', 'ownerId': me})['id']}"
    begun = boss.post(f"{lead}:startCadence", {"cadenceId": cadence["id"]})
    assert (begun["cadenceStep"], begun["nextContactChannel"]) == (1, "CONTACT_CHANNEL_PHONE")
    boss.ask("DELETE", f"/v1/cadences/{cadence['id']}", expect=409)
    boss.ask("POST", f"{lead}:reportStep", json={"outcome": "CADENCE_OUTCOME_SENT", "step": 2}, expect=409)
    reached = seller.post(f"{lead}:reportStep", {"outcome": "CADENCE_OUTCOME_REACHED", "note": "有兴趣"})
    assert (reached["status"], reached["cadenceStep"]) == ("LEAD_STATUS_CONTACTED", 2)
    assert "cadenceId" not in seller.post(f"{lead}:stopCadence")
    boss.ask("DELETE", f"/v1/cadences/{cadence['id']}")

    adjusted = seller.post(f"{lead}:adjustScore", {"adjustment": 15, "note": "预算充足"})
    assert (adjusted["score"], adjusted["scoreAdjustment"]) == (15, 15)
    due = {"acceptMinutes": 60, "ownerId": boss.get("/v1/me")["person"]["id"]}
    assert boss.post(f"{lead}:assign", due)["acceptance"] == "ACCEPTANCE_STATE_PENDING"
    seller.ask("POST", f"{lead}:accept", json={}, expect=404)
    assert "acceptUntilTime" not in boss.post(f"{lead}:accept")
    seller.ask("PATCH", "/v1/leadHandling", json={"claimLimit": 1}, expect=403)


def test_counting_anew_and_giving_away_under_kills(
    suite: Suite, founded: Callable[[str], Any], eventually: Callable[..., Any]
) -> None:
    """An import of many leads is given away by a rule, a rule of scores counts all of them, and leads is killed meanwhile."""
    boss = founded("many-leads")
    people = []
    for n in range(3):
        body = {"email": f"seller{n}@many-leads.example", "displayName": f"Seller {n}"}
        people.append(boss.post("/v1/people", body)["person"]["id"])
    boss.post("/v1/assignmentRules", {"name": "Round", "active": True, "personIds": people})
    handling = {"assignImported": True}
    boss.ask("PATCH", "/v1/leadHandling", json=handling)
    count = 600
    file = "name,region\n" + "".join(f"L{n},{'x' if n % 2 else 'y'}\n" for n in range(count))
    upload = {"file": ("a.csv", file.encode(), "text/csv")}
    made = boss.ask("POST", "/v1/leads/imports", data={"recordType": "lead"}, files=upload)
    boss.post(f"/v1/leads/imports/{made['id']}:start")
    boss.post("/v1/scoreRules", {"name": "x", "active": True, "condition": "region = x", "points": 40})
    part = suite.services["leads"]
    for pause in (0.3, 0.6, 0.9):
        time.sleep(pause)  # a kill at some moment of the work, whichever it is
        part.kill()
        part.start()

    def all_leads() -> Any:
        found: list[Any] = []
        token = ""
        while True:
            asked = {"pageSize": 200, "pageToken": token}
            answer = boss.http.get("/v1/leads", params=asked, headers=boss.headers)
            if answer.status_code != 200:  # it is just coming back
                return None
            page = answer.json()
            found += page.get("leads", [])
            token = page.get("nextPageToken", "")
            if not token:
                return found

    def done() -> Any:
        found = all_leads()
        return (
            found
            and len(found) == count
            and all(lead.get("assignmentRuleName") for lead in found)
            and all(lead.get("score", 0) == (40 if lead["region"] == "x" else 0) for lead in found)
            and found
        )

    found = eventually(done, 150)
    assert set(Counter(lead["ownerId"] for lead in found).values()) == {count // 3}
    (rule,) = boss.get("/v1/assignmentRules")["assignmentRules"]
    assert rule["givenCount"] == str(count), "nothing was given twice"
