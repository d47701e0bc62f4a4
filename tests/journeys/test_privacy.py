"""Whoever answers for data protection hands somebody's data out and erases them, through the gateway."""

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from kehu_local.suite import Suite
from proof.found import rows

pytestmark = pytest.mark.timeout(300)


def test_a_person_asks_for_their_data_and_then_to_be_forgotten(
    boss: Any, colleague: Callable[[str], Any], eventually: Callable[..., Any]
) -> None:
    name = f"Zhao {uuid4().hex[:8]}"
    phone = f"139{uuid4().int % 10**8:08d}"
    customer = boss.post("/v1/customers", {"displayName": "Hua Xia"})["id"]
    contact = boss.post("/v1/contacts", {
        "customerId": customer, "displayName": name, "phones": [{"number": phone}],
    })["id"]  # fmt: skip
    boss.post("/v1/tickets", {"customerId": customer, "contactId": contact, "subject": f"{name} asks"})
    lead = boss.post("/v1/leads", {"name": name, "phone": phone})["id"]
    scan = f"signed by {name}\n".encode() * 40_000

    def attach(where: str, record_type: str, id: str, filename: str) -> str:
        told = {"recordType": record_type, "recordId": id}
        sent = {"file": (filename, scan, "text/plain")}
        answer = boss.http.post(f"/v1/{where}/attachments", data=told, files=sent, headers=boss.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()["id"]

    letter = attach("customers", "contact", contact, "letter.txt")
    card = attach("leads", "lead", lead, "card.txt")
    attach("customers", "customer", customer, "contract.txt")
    named = {"recordType": "contact", "recordId": contact}

    member = colleague("")
    assert boss.http.post("/v1/personExports", json=named, headers=member.headers).status_code == 403
    answer = boss.http.post("/v1/personExports", json=named, headers=boss.headers)
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        assert {"customers/contact.json", "servicedesk/ticket.json", "manifest.json"} <= set(
            packed.namelist()
        )
        manifest = json.loads(packed.read("manifest.json"))
        assert manifest["complete"] and not manifest["lost_files"]
        files = {n: packed.read(n) for n in packed.namelist() if "/files/" in n}
        assert files == {
            f"customers/files/{letter}/letter.txt": scan,
            f"leads/files/{card}/card.txt": scan,
        }
        assert json.loads(packed.read("customers/contact.json"))[0]["display_name"] == name
    missing = boss.http.post(
        "/v1/personExports", json={**named, "recordId": str(uuid4())}, headers=boss.headers
    )
    assert missing.status_code == 404 and missing.headers["content-type"] == "application/problem+json"

    found = boss.post("/v1/erasures:preview", named)
    assert {one["service"] for one in found["records"]} == {"customers", "servicedesk", "leads"}
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


def test_a_file_whose_bytes_are_gone_is_named(boss: Any, suite: Suite) -> None:
    customer = boss.post("/v1/customers", {"displayName": "Hua Xia"})["id"]
    contact = boss.post("/v1/contacts", {"customerId": customer, "displayName": f"Qian {uuid4().hex[:8]}"})[
        "id"
    ]
    ids: list[str] = []
    for name in ("kept.txt", "gone.txt"):
        told, sent = (
            {"recordType": "contact", "recordId": contact},
            {"file": (name, name.encode(), "text/plain")},
        )
        answer = boss.http.post("/v1/customers/attachments", data=told, files=sent, headers=boss.headers)
        ids.append(answer.json()["id"])
    stored = "SELECT storage_key FROM attachments WHERE id = $1"
    (suite.var / "files" / rows(suite, "customers", stored, UUID(ids[1]))[0]["storage_key"]).unlink()
    named = {"recordType": "contact", "recordId": contact}
    answer = boss.http.post("/v1/personExports", json=named, headers=boss.headers)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        manifest = json.loads(packed.read("manifest.json"))
        assert packed.read(f"customers/files/{ids[0]}/kept.txt") == b"kept.txt"
    assert not manifest["complete"]
    assert manifest["lost_files"] == {f"customers/files/{ids[1]}/gone.txt": "FILE_MISSING"}
