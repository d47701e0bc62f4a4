"""Whoever answers for data protection hands somebody's data out and erases them, through the gateway."""

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

pytestmark = pytest.mark.timeout(300)


def test_a_person_asks_for_their_data_and_then_to_be_forgotten(
    boss: Any, colleague: Callable[[str], Any], eventually: Callable[..., Any]
) -> None:
    name = f"Zhao {uuid4().hex[:8]}"
    customer = boss.post("/v1/customers", {"displayName": "Hua Xia"})["id"]
    contact = boss.post("/v1/contacts", {
        "customerId": customer, "displayName": name, "phones": [{"number": f"139{uuid4().int % 10**8:08d}"}],
    })["id"]  # fmt: skip
    boss.post("/v1/tickets", {"customerId": customer, "contactId": contact, "subject": f"{name} asks"})
    named = {"recordType": "contact", "recordId": contact}

    member = colleague("")
    assert boss.http.post("/v1/personExports", json=named, headers=member.headers).status_code == 403
    answer = boss.http.post("/v1/personExports", json=named, headers=boss.headers)
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        assert {"customers/contact.json", "servicedesk/ticket.json", "manifest.json"} <= set(
            packed.namelist()
        )
        assert json.loads(packed.read("manifest.json"))["complete"]
        assert json.loads(packed.read("customers/contact.json"))[0]["display_name"] == name
    missing = boss.http.post(
        "/v1/personExports", json={**named, "recordId": str(uuid4())}, headers=boss.headers
    )
    assert missing.status_code == 404 and missing.headers["content-type"] == "application/problem+json"

    found = boss.post("/v1/erasures:preview", named)
    assert {one["service"] for one in found["records"]} == {"customers", "servicedesk"}
    body = {**named, "basis": "ERASURE_BASIS_REQUEST", "reference": "DSR/2026-11"}
    key = uuid4().hex
    erasure = boss.post("/v1/erasures", body, key=key)
    assert boss.post("/v1/erasures", body, key=key)["id"] == erasure["id"]
    done = eventually(
        lambda: (
            (it := boss.get(f"/v1/erasures/{erasure['id']}"))["state"] == "ERASURE_STATE_SUCCEEDED" and it
        ),
        120,
    )
    assert done["reports"] and name not in json.dumps(done)
    assert boss.ask("GET", f"/v1/contacts/{contact}", expect=404)
    assert (
        boss.get("/v1/erasures", params={"filter": 'reference = "DSR/2026-11"'})["erasures"][0]["id"]
        == done["id"]
    )
