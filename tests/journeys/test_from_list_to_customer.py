"""A sales assistant's morning through the gateway: import a list, work a lead, convert it, see the customer from all sides."""

from collections.abc import Callable
from typing import Any

from kehu_local.suite import Suite

LIST = """姓名,公司,手机,邮箱,来源,备注
张伟,北京用友软件股份有限公司,138-0000-0001,zhang@yonyou.example,展会,约下周
李娜,上海宝钢集团,１３８００００００２,li@baogang.example,网站,
,,13800000003,,广告,没有名字
王芳,深圳华为技术,139 0000 0004,not a mail,推荐,
"""


def test_from_list_to_customer(
    suite: Suite, boss: Any, colleague: Callable[[str], Any], eventually: Callable[..., Any]
) -> None:
    # The list comes from a Chinese spreadsheet program.
    seller = colleague("Member")
    upload = {"file": ("线索.csv", LIST.encode("gb18030"), "text/csv")}
    made = seller.ask("POST", "/v1/leads/imports", data={"recordType": "lead"}, files=upload)
    assert (made["encoding"], made["totalRows"]) == ("gb18030", 4)
    assert {(m.get("column", 0), m["field"]) for m in made["proposedMapping"]} >= {
        (0, "name"),
        (1, "companyName"),
        (2, "phone"),
    }
    seller.post(f"/v1/leads/imports/{made['id']}:start")
    done = eventually(
        lambda: (
            (i := seller.get(f"/v1/leads/imports/{made['id']}"))["state"] == "IMPORT_STATE_SUCCEEDED" and i
        )
    )
    assert done["createdRows"] + done["refusedRows"] == 4 and done["refusedRows"] >= 1
    refused = seller.http.get(f"/v1/leads/imports/{made['id']}/refusedRows", headers=seller.headers)
    assert refused.status_code == 200 and "没有名字" in refused.content.decode("utf-8-sig")

    # Found by pinyin initials and by the tail of the phone number.
    for query in ("zhangwei", "bjyy", "0001"):
        found = seller.get("/v1/leads", params={"query": query}).get("leads", [])
        assert [lead["name"] for lead in found] == ["张伟"], query
    lead = found[0]
    assert lead["phone"] == "+8613800000001"
    worked = seller.post(f"/v1/leads/{lead['id']}:contact", {"note": "有兴趣"})
    assert worked["status"] == "LEAD_STATUS_CONTACTED"

    conversion = seller.post(f"/v1/leads/{lead['id']}:convert", key="convert-1")
    again = seller.post(f"/v1/leads/{lead['id']}:convert", key="convert-1")
    assert (
        conversion["state"] == again["state"] == "CONVERSION_STATE_SUCCEEDED"
        and again["id"] == conversion["id"]
    )

    view = seller.get(f"/v1/customers/{conversion['customerId']}:view360")
    assert view["customer"]["displayName"] == "北京用友软件股份有限公司"
    assert [c["displayName"] for c in view["sections"]["customers"]["contacts"]] == ["张伟"]
    assert [one["id"] for one in view["sections"]["leads"]["leads"]] == [lead["id"]]
    missing = {part["section"]: part["reason"] for part in view["missing"]}
    assert not missing.keys() & suite.services.keys(), missing

    # The administrator sees it, another salesperson does not, and the history tells who did what.
    assert boss.get(f"/v1/customers/{conversion['customerId']}")["id"] == conversion["customerId"]
    colleague("Member").ask("GET", f"/v1/customers/{conversion['customerId']}:view360", expect=404)
    changes = seller.get("/v1/leads/changes", params={"recordType": "lead", "recordId": lead["id"]})[
        "changes"
    ]
    statuses = [
        f["newValue"] for c in reversed(changes) for f in c.get("fields", []) if f["field"] == "status"
    ]
    assert statuses == ["CONTACTED", "CONVERTING", "CONVERTED"]
    assert {c["actorName"] for c in changes} == {
        f"Colleague {seller.email.removeprefix('colleague').partition('@')[0]}"
    }


def test_the_history_of_a_customer_says_when_they_were_last_spoken_to(
    boss: Any, eventually: Callable[..., Any]
) -> None:
    customer = boss.post("/v1/customers", {"displayName": "Spoken to in 2019"})["id"]

    def imported(status: str, begins: str, **options: Any) -> Any:
        row = f"Call,{status},{begins},Spoken to in 2019,SPOKEN-1\n"
        file = {"file": ("calls.csv", f"Name,Status,Date Start,Account,ID\n{row}".encode(), "text/csv")}
        path = "/v1/sales/imports"
        made = boss.ask("POST", path, data={"recordType": "activity"}, files=file)
        boss.post(f"{path}/{made['id']}:start", options)
        return eventually(lambda: (now := boss.get(f"{path}/{made['id']}")).get("endTime") and now)

    assert imported("Planned", "2099-01-01 10:00")["createdRows"] == 1
    eventually(lambda: "nextContactTime" in boss.get(f"/v1/customers/{customer}"))
    assert imported("Held", "2019-03-01 09:30", mode="IMPORT_MODE_UPSERT")["updatedRows"] == 1
    last = eventually(lambda: boss.get(f"/v1/customers/{customer}").get("lastContactTime"))
    assert last == "2019-03-01T01:30:00Z"
