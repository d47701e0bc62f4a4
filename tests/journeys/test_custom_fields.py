"""An administrator gives leads and customers fields of the company's own, and a sales assistant works with them, over REST."""

from collections.abc import Callable
from typing import Any

from kehu_local.suite import Suite

LIST = "姓名,公司,预算负责人,预算,重点行业\n张伟,北京用友,王总,12000.50,软件\n李娜,上海宝钢,,,钢铁\n王芳,深圳华为,赵总,1,航天\n"
TEXT, MONEY, CHOICE = (f"CUSTOM_FIELD_KIND_{kind}" for kind in ("TEXT", "MONEY", "CHOICE"))


def test_fields_of_a_companys_own(
    suite: Suite, founded: Callable[[str], Any], eventually: Callable[..., Any]
) -> None:
    boss = founded("eigen")
    owner = boss.post(
        "/v1/leads/customFields",
        {
            "recordType": "lead",
            "key": "budget_owner",
            "labelZh": "预算负责人",
            "labelEn": "Budget owner",
            "kind": TEXT,
        },
        key="budget-owner",
    )
    budget = {"recordType": "lead", "key": "budget", "labelZh": "预算", "kind": MONEY, "filterable": True}
    boss.post("/v1/leads/customFields", budget)
    choices = [
        {"key": "software", "labelZh": "软件", "labelEn": "Software"},
        {"key": "steel", "labelZh": "钢铁", "labelEn": "Steel"},
    ]
    focus = {"recordType": "lead", "key": "focus", "labelZh": "重点行业", "kind": CHOICE, "choices": choices}
    boss.post("/v1/leads/customFields", {**focus, "required": True})
    shown = boss.get("/v1/leads/customFields", params={"recordType": "lead"})["customFields"]
    assert [(f["key"], f["position"]) for f in shown] == [("budget_owner", 1), ("budget", 2), ("focus", 3)]

    # A list is imported; its columns are recognised by the labels.
    upload = {"file": ("线索.csv", LIST.encode("gb18030"), "text/csv")}
    read = boss.ask("POST", "/v1/leads/imports", data={"recordType": "lead"}, files=upload)
    assert {m["field"] for m in read["proposedMapping"]} == {
        "name", "companyName", "customFields.budget_owner", "customFields.budget", "customFields.focus",
    }  # fmt: skip
    boss.post(f"/v1/leads/imports/{read['id']}:start")
    done = eventually(
        lambda: (i := boss.get(f"/v1/leads/imports/{read['id']}"))["state"] == "IMPORT_STATE_SUCCEEDED" and i
    )
    assert (done["createdRows"], done["refusedRows"]) == (2, 1)
    found = boss.get("/v1/leads", params={"filter": "customFields.budget > 10000"})["leads"]
    assert [lead["customFields"] for lead in found] == [
        {
            "budget_owner": "王总",
            "budget": {"currencyCode": "CNY", "units": "12000", "nanos": 500000000},
            "focus": "software",
        }
    ]
    lead = found[0]

    # A patch changes what it names and leaves the rest; null takes a value away; nothing else is known.
    path = f"/v1/leads/{lead['id']}"
    changed = boss.ask("PATCH", path, json={"customFields": {"budget_owner": None, "focus": "steel"}})
    assert changed["customFields"] == {"budget": lead["customFields"]["budget"], "focus": "steel"}
    named = boss.ask(
        "PATCH",
        path,
        json={"customFields": {"budget_owner": "钱总", "focus": "software"}},
        params={"updateMask": "customFields.budget_owner"},
    )
    assert named["customFields"] == {**changed["customFields"], "budget_owner": "钱总"}
    wrong = boss.ask("PATCH", path, json={"customFields": {"focus": "space", "nobody": 1}}, expect=400)
    assert {v["field"] for v in wrong["violations"]} == {"customFields.focus", "customFields.nobody"}
    missing = boss.post("/v1/leads", {"name": "No focus"}, expect=400)
    assert [v["field"] for v in missing["violations"]] == ["customFields.focus"]
    ordered = boss.get("/v1/leads", params={"orderBy": "customFields.budget desc"})["leads"]
    assert [one["name"] for one in ordered] == ["张伟", "李娜"]

    # The history tells of them, and so do the events, which a report or an ERP reads.
    history = boss.get("/v1/leads/changes", params={"recordType": "lead", "recordId": lead["id"]})["changes"]
    assert {f["field"] for f in history[0]["fields"]} == {"customFields.budget_owner"}

    # What would lose data is refused with the count of those in the way.
    field = f"/v1/leads/customFields/{owner['id']}"
    refused = boss.ask("PATCH", field, json={"kind": MONEY}, expect=409)
    assert refused["reason"] == "CUSTOM_FIELD_IN_USE" and refused["metadata"]["rows"] == "1", refused
    boss.ask("DELETE", field, expect=409)
    assert boss.ask("PATCH", field, json={"archived": True})["archived"]
    assert boss.get(path)["customFields"]["budget_owner"] == "钱总"

    # Marked later: the index is made in the background.
    focus_id = shown[2]["id"]
    boss.ask("PATCH", f"/v1/leads/customFields/{focus_id}", json={"filterable": True})
    eventually(lambda: boss.get(f"/v1/leads/customFields/{focus_id}").get("indexed"))
    steel = boss.get("/v1/leads", params={"filter": "customFields.focus = steel"})["leads"]
    assert {one["name"] for one in steel} == {"张伟", "李娜"}

    # A lead without a customer can be converted although customers have a required field: nobody is there to ask.
    boss.post(
        "/v1/customers/customFields",
        {
            "recordType": "customer",
            "key": "region_code",
            "labelZh": "区域代码",
            "kind": TEXT,
            "required": True,
        },
    )
    conversion = boss.post(f"{path}:convert", key="convert")
    assert conversion["state"] == "CONVERSION_STATE_SUCCEEDED", conversion
    boss.post("/v1/customers", {"displayName": "By hand"}, expect=400)
