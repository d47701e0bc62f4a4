"""A visitor of the company's page sends the form that Kehu made, and a seller sees where the lead came from."""

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx

EXAMPLE = Path(__file__).parents[2] / "examples" / "lead_form"


class _Form(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.action = ""
        self.names: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.action = found.get("action") or self.action
        if name := found.get("name"):
            self.names.add(name)


def test_a_visitor_becomes_a_lead_of_the_campaign(boss: Any, eventually: Callable[..., Any]) -> None:
    boss.sign_in()
    campaign = boss.post(
        "/v1/campaigns",
        {
            "name": "Spring fair",
            "channel": "CAMPAIGN_CHANNEL_WEB",
            "budget": {"currencyCode": "CNY", "units": "20000"},
        },
    )
    described = json.loads((EXAMPLE / "form.json").read_text())
    made = boss.post("/v1/forms", {**described, "campaignId": campaign["id"]})
    snippet = boss.http.get(f"/v1/forms/{made['id']}/snippet", headers=boss.headers)
    form = _Form(snippet.text)
    assert form.action == f"{str(boss.http.base_url).rstrip('/')}/v1/forms/{made['publicKey']}:submit"
    page = _Form((EXAMPLE / "index.html").read_text())
    assert form.names == page.names - {"viewport"}, "the example shows another form than Kehu makes"

    sent = {
        "full_name": "孙丽",
        "company": "苏州纺织",
        "phone": "0512 6288 0000",
        "consent": "yes",
        "kehu_website": "",
    }
    browser = {"accept": "text/html", "origin": "https://www.example.com", "cookie": ""}
    for _ in range(2):  # a double click
        answer = httpx.post(form.action, data=sent, headers=browser)
        assert answer.status_code == 200 and "<h1>Thank you.</h1>" in answer.text, answer.text
    found = boss.get("/v1/leads", params={"filter": f'formId = "{made["id"]}"'})["leads"]
    assert [(lead["name"], lead["companyName"], lead["source"]) for lead in found] == [
        ("孙丽", "苏州纺织", "LEAD_SOURCE_WEB_FORM")
    ]
    assert found[0]["campaignId"] == campaign["id"]

    conversion = boss.post(f"/v1/leads/{found[0]['id']}:convert", key="convert-the-visitor")
    assert conversion["state"] == "CONVERSION_STATE_SUCCEEDED"

    def whole() -> bool:
        now = boss.get(f"/v1/campaigns/{campaign['id']}")
        return (now["memberCount"], now["leadCount"], now.get("convertedLeadCount", 0)) == (1, 1, 1)

    eventually(whole)

    def touched() -> Any:
        view = boss.get(f"/v1/customers/{conversion['customerId']}:view360")
        return view["sections"]["marketing"].get("touches")

    (touch,) = eventually(touched)
    assert (touch["campaignName"], touch["status"]) == ("Spring fair", "MEMBER_STATUS_RESPONDED")
