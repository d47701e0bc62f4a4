"""Conversion through the gateway: the one pipeline, an import that asks customers and identity for names, a lead with a deal."""

from collections.abc import Callable
from typing import Any


def test_the_pipeline_is_changed_without_its_id(boss: Any) -> None:
    before = boss.get("/v1/pipeline")
    stages = [*before["stages"], {"name": "Contract", "probability": 90}]
    after = boss.ask("PATCH", "/v1/pipeline", json={"stages": stages})
    assert [stage["name"] for stage in after["stages"]][-1] == "Contract"
    assert boss.ask("PATCH", "/v1/pipeline", json={"stages": before["stages"]})["id"] == before["id"]


def test_an_import_asks_for_names_as_the_person_who_imports(
    boss: Any, colleague: Callable[[str], Any], eventually: Callable[..., Any]
) -> None:
    seller = colleague("Member")
    me = boss.get("/v1/people", params={"query": seller.email.partition("@")[0]})["people"][0]
    seller.post("/v1/customers", {"displayName": "Rest of Names Ltd"})
    boss.post("/v1/products", {"name": "REST Pro"})
    rows = (
        "opportunity_id,sales_agent,product,account,deal_stage,close_date,close_value\n"
        f"REST-1,{me['displayName']},RESTPro,Rest of Names Ltd,Won,2017-03-01,10\n"
        "REST-2,Nobody at all,REST Pro,Rest of Names Ltd,Won,2017-03-01,10\n"
    )
    upload = {"file": ("pipeline.csv", rows.encode(), "text/csv")}
    made = seller.ask("POST", "/v1/sales/imports", data={"recordType": "opportunity"}, files=upload)
    seller.post(f"/v1/sales/imports/{made['id']}:start")
    done = eventually(
        lambda: (
            (i := seller.get(f"/v1/sales/imports/{made['id']}"))["state"] == "IMPORT_STATE_SUCCEEDED" and i
        )
    )
    assert (done["createdRows"], done["refusedRows"]) == (1, 1), done
    [won] = seller.get("/v1/opportunities", params={"filter": 'externalKey = "REST-1"'})["opportunities"]
    assert (won["productName"], won["ownerId"], won["status"]) == (
        "REST Pro",
        me["id"],
        "OPPORTUNITY_STATUS_WON",
    )


def test_a_lead_becomes_a_deal(boss: Any) -> None:
    lead = boss.post("/v1/leads", {"name": "王五", "companyName": "Deal over REST Ltd"})
    asked = {"opportunity": {"name": "First", "amount": {"currencyCode": "CNY", "units": "5"}}}
    done = boss.post(f"/v1/leads/{lead['id']}:convert", asked, key="rest-deal")
    assert done["state"] == "CONVERSION_STATE_SUCCEEDED", done
    deal = boss.get(f"/v1/opportunities/{done['opportunityId']}")
    assert (deal["name"], deal["customerId"], deal["originLeadId"]) == (
        "First",
        done["customerId"],
        lead["id"],
    )
    boss.ask("POST", f"/v1/leads/{lead['id']}:convert", json={}, key="rest-deal", expect=422)
    assert boss.get("/v1/leads", params={"pageSize": "1000"})["leads"]
    boss.ask("GET", "/v1/leads", params={"pageSize": "1001"}, expect=400)


def test_a_lead_takes_its_own_fields_along(founded: Callable[[str], Any]) -> None:
    boss = founded("carried")
    field = {"key": "budget_owner", "labelZh": "预算负责人", "kind": "CUSTOM_FIELD_KIND_TEXT"}
    for domain, kind in (
        ("leads", "lead"),
        ("customers", "customer"),
        ("customers", "contact"),
        ("sales", "opportunity"),
    ):
        boss.post(f"/v1/{domain}/customFields", {**field, "recordType": kind})
    lead = {"name": "赵六", "companyName": "Carried Ltd", "customFields": {"budget_owner": "王总"}}
    path = f"/v1/leads/{boss.post('/v1/leads', lead)['id']}:convert"
    done = boss.post(path, {"opportunity": {"name": "First"}}, key="carried")
    assert done["state"] == "CONVERSION_STATE_SUCCEEDED", done
    for kind in ("customer", "contact"):
        assert boss.get(f"/v1/{kind}s/{done[f'{kind}Id']}")["customFields"] == {"budget_owner": "王总"}
    deal = boss.get(f"/v1/opportunities/{done['opportunityId']}")
    assert deal["customFields"] == {"budget_owner": "王总"}
