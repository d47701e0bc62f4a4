"""An erasure whose service dies at any step: it goes on when the service is back, and nothing of the person is left."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest

from kehu_local.suite import Suite
from proof.left_behind import databases_of, places
from proof.rig import Rig, rigged

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def signed_in(boss: Any) -> Iterator[Any]:
    yield boss.sign_in()


def _tenant(boss: Any) -> UUID:
    token = boss.headers["authorization"].removeprefix("Bearer ")
    return UUID(jwt.decode(token, options={"verify_signature": False})["tid"])


def _known(boss: Any) -> tuple[str, list[str]]:
    """Somebody whom customers, leads, sales and the service desk know: the contact, and what may stand nowhere afterwards."""
    number = uuid4().int % 10**8
    name, phone, email = f"Wang Wu {number}", f"+86137{number:08d}", f"wang{number}@person.example"
    lead = {"name": name, "companyName": "Cut off", "phone": phone, "email": email}
    converted = boss.post(
        f"/v1/leads/{boss.post('/v1/leads', lead)['id']}:convert", {"opportunity": {"name": name}}
    )
    whom = {"customerId": converted["customerId"], "contactId": converted["contactId"]}
    boss.post("/v1/tickets", {**whom, "subject": f"{name} waits", "requesterPhone": phone})
    return whom["contactId"], [name, phone.removeprefix("+86"), email]


def _begun(boss: Any, contact: str) -> str:
    return boss.post("/v1/erasures", {"recordType": "contact", "recordId": contact})["id"]


def _ended(boss: Any, id: str) -> bool:
    answer = boss.http.get(f"/v1/erasures/{id}", headers=boss.headers)
    return answer.status_code == 200 and answer.json()["state"] == "ERASURE_STATE_SUCCEEDED"


def _through(
    suite: Suite, boss: Any, rig: Rig, eventually: Callable[..., Any], step: str, others: int
) -> None:
    contact, words = _known(boss)
    rig.arm(step, others)
    id = _begun(boss, contact)
    rig.died(60)
    rig.part.start()
    eventually(lambda: _ended(boss, id), 90)
    assert boss.http.get(f"/v1/contacts/{contact}", headers=boss.headers).status_code == 404
    assert asyncio.run(places(databases_of(suite), _tenant(boss), words)) == [], (step, others)


def test_customers_dies_at_each_step(
    suite: Suite, signed_in: Any, eventually: Callable[..., Any], tmp_path: Path
) -> None:
    with rigged(suite, "customers", tmp_path / "rig") as rig:
        for step, others in (
            ("before ErasePersonalData in the background", 0),
            ("after ErasePersonalData in the background", 4),
            ("before sending person.erased", 0),
            ("after sending person.erased", 0),
        ):
            _through(suite, signed_in, rig, eventually, step, others)


def test_sales_dies_at_each_step(
    suite: Suite, signed_in: Any, eventually: Callable[..., Any], tmp_path: Path
) -> None:
    with rigged(suite, "sales", tmp_path / "rig") as rig:
        for when in ("before", "after"):
            _through(suite, signed_in, rig, eventually, f"{when} ErasePersonalData, commit 3", 0)
