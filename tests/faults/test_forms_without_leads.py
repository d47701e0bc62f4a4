"""A visitor sends a form while leads is down: told to come back, and on coming back one lead."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kehu_local.suite import Suite


def test_a_form_waits_for_leads(suite: Suite, boss: Any, eventually: Callable[..., Any]) -> None:
    boss.sign_in()
    name = {
        "key": "n",
        "label": "Name",
        "kind": "FORM_FIELD_KIND_TEXT",
        "required": True,
        "leadField": "LEAD_FIELD_NAME",
    }
    form = boss.post("/v1/forms", {"name": "While leads is down", "fields": [name]})
    sent = {"n": "Patient visitor", "request_id": "visit-1"}

    def send() -> Any:
        return boss.http.post(f"/v1/forms/{form['publicKey']}:submit", data=sent)

    leads = suite.services["leads"]
    leads.kill()
    try:
        # Together more than one address may send in a minute: what has failed does not count.
        with ThreadPoolExecutor(4) as pool:
            answers = [sent.result() for sent in [pool.submit(send) for _ in range(11)]]
        for answer in answers:
            assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1, answer.text
        kept = boss.get(f"/v1/forms/{form['id']}")
        assert kept.get("submissionCount", 0) == 0
    finally:
        leads.start()
    eventually(lambda: send().status_code == 200)
    send()
    found = boss.get("/v1/leads", params={"filter": f'formId = "{form["id"]}"'})["leads"]
    assert [lead["name"] for lead in found] == ["Patient visitor"]
    assert boss.get(f"/v1/forms/{form['id']}")["submissionCount"] == 1
