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


def test_what_is_done_sold_planned_and_complained_of_has_them_too(
    founded: Callable[[str], Any], eventually: Callable[..., Any]
) -> None:
    boss = founded("eigenes")
    customer = boss.post("/v1/customers", {"displayName": "华为"})["id"]
    product = boss.post("/v1/products", {"name": "Pump", "listPrice": {"currencyCode": "CNY", "units": "7"}})[
        "id"
    ]
    due = "2026-12-01T09:00:00Z"
    lines = [{"productId": product, "quantity": "1"}]
    kinds: dict[str, tuple[str, str, dict[str, Any]]] = {
        "activity": (
            "sales", "/v1/activities", {"kind": "ACTIVITY_KIND_VISIT", "subject": "拜访", "dueTime": due, "customerId": customer},
        ),
        "order": ("sales", "/v1/orders?place=true", {"customerId": customer, "lines": lines}),
        "ticket": ("servicedesk", "/v1/tickets", {"subject": "漏水", "customerId": customer}),
        "campaign": ("marketing", "/v1/campaigns", {"name": "展会", "channel": "CAMPAIGN_CHANNEL_CONFERENCE"}),
    }  # fmt: skip
    colleague = {"email": "mei@eigenes.example", "displayName": "韩梅梅"}
    mei = boss.post("/v1/people", colleague)["person"]["id"]
    for kind, (domain, path, body) in kinds.items():
        field = {"recordType": kind, "key": "region", "labelZh": "大区", "kind": TEXT, "filterable": True}
        boss.post(f"/v1/{domain}/customFields", field)
        made = boss.post(path, {**body, "customFields": {"region": "华东"}})
        plain = path.partition("?")[0]
        changed = boss.ask("PATCH", f"{plain}/{made['id']}", json={"customFields": {"region": "华南"}})
        assert changed["customFields"] == {"region": "华南"}, kind
        wrong = boss.ask(
            "PATCH", f"{plain}/{made['id']}", json={"customFields": {"regoin": "华南"}}, expect=400
        )
        assert [v["field"] for v in wrong["violations"]] == ["customFields.regoin"]
        plural = plain.rpartition("/")[2]
        found = boss.get(plain, params={"filter": 'customFields.region = "华南"'})[plural]
        assert [one["id"] for one in found] == [made["id"]]
        asked = {
            "recordType": kind,
            "format": "EXPORT_FORMAT_CSV",
            "columns": ["customFields.region"],
            "languageCode": "zh",
        }
        file = boss.http.post(f"/v1/{domain}/exports", json=asked, headers=boss.headers)
        assert file.content.decode("utf-8-sig").split() == ["大区", "华南"], file.text
        changes = boss.get(f"/v1/{domain}/changes", params={"recordType": kind, "recordId": made["id"]})
        assert [f["field"] for f in changes["changes"][0]["fields"]] == ["customFields.region"]
        on = {"recordType": kind, "recordId": made["id"]}
        boss.post(f"/v1/{domain}/notes", {**on, "text": f"@韩梅梅 {kind}", "mentionedIds": [mei]})
        sent = {"file": ("平面图.txt", kind.encode(), "text/plain")}
        kept = boss.ask("POST", f"/v1/{domain}/attachments", data=on, files=sent)
        back = boss.http.get(f"/v1/{domain}/attachments/{kept['id']}:download", headers=boss.headers)
        assert back.content == kind.encode()
    described = {"recordType": "product", "recordId": product, "text": "@韩梅梅", "mentionedIds": [mei]}
    boss.post("/v1/sales/notes", described)
    # Whoever is mentioned hears of it, whatever it is on.
    secret = boss.post("/v1/apiKeys", {"name": "mei", "personId": mei})["secret"]

    def told() -> set[str]:
        answer = boss.http.get("/v1/notifications", headers={"x-api-key": secret}).json()
        return {one["recordType"] for one in answer.get("notifications", [])}

    eventually(lambda: told() == {*kinds, "product"})
    view = boss.get(f"/v1/customers/{customer}:view360")["sections"]
    for section, name in (("sales", "activities"), ("sales", "orders"), ("servicedesk", "tickets")):
        assert [one["customFields"] for one in view[section][name]] == [{"region": "华南"}]
