"""Files whose service dies while they come in, go out or are deleted: whoever asks again finds them once, and no bytes stay that
no row speaks of."""

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from kehu_local.suite import Suite
from proof.rig import Rig, rigged

pytestmark = pytest.mark.timeout(300)
PATH = "/v1/customers/attachments"
CONTENT = b"%PDF-1.7\n" + bytes(range(256)) * 8000


@pytest.fixture
def keeper(founded: Callable[[str], Any]) -> Iterator[Any]:
    """The administrator of a company of its own: what lies on the disk for it is all this test's."""
    yield founded(f"files-{uuid4().hex[:8]}")


def _customer(keeper: Any) -> str:
    return keeper.post("/v1/customers", {"displayName": f"Keeper {uuid4()}"})["id"]


def _send(keeper: Any, customer: str, key: str) -> Any:
    data = {"recordType": "customer", "recordId": customer}
    files = {"file": ("合同.pdf", CONTENT, "application/pdf")}
    return keeper.http.post(PATH, data=data, files=files, headers={**keeper.headers, "idempotency-key": key})


def _asked(ask: Callable[[], Any]) -> Any:
    """Asks until it is answered."""
    while True:
        answer = ask()
        assert answer.status_code in (200, 503, 504), answer.text
        if answer.status_code == 200:
            return answer.json()


def _through(rig: Rig, step: str, ask: Callable[[], Any]) -> Any:
    rig.arm(step, 0)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(_asked, ask)
        rig.died(90)
        rig.part.start()
        return answer.result()


def _kept(suite: Suite, keeper: Any) -> list[Path]:
    tenant = keeper.get("/v1/me")["tenant"]["id"]
    return [path for path in (suite.var / "files" / "customers" / tenant).glob("*") if path.is_file()]


def _hurry(suite: Suite) -> None:
    """Has what waits for its time be due now: a quarter of an hour is long for a test."""

    async def run() -> None:
        connection: Any = await asyncpg.connect(suite.databases["customers"].relay)
        try:
            await connection.execute("UPDATE jobs SET due_at = now() WHERE kind = 'forget file'")
        finally:
            await connection.close()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, run()).result()


def _listed(keeper: Any, customer: str) -> list[Any]:
    found = keeper.get(PATH, params={"recordType": "customer", "recordId": customer})
    return found.get("attachments", [])


def _has_one(keeper: Any, asked: dict[str, str]) -> bool:
    answer = keeper.http.get(PATH, params=asked, headers=keeper.headers)
    return answer.status_code == 200 and answer.json().get("totalCount") == 1


def test_the_service_dies_at_each_step(
    suite: Suite, keeper: Any, eventually: Callable[..., Any], tmp_path: Path
) -> None:
    with rigged(suite, "customers", tmp_path / "rig") as rig:
        made = 0
        for step in [f"{when} CreateAttachment, commit {n}" for n in (1, 2) for when in ("before", "after")]:
            customer, key = _customer(keeper), str(uuid4())
            answer = _through(rig, step, lambda c=customer, k=key: _send(keeper, c, k))
            made += 1
            assert [one["id"] for one in _listed(keeper, customer)] == [answer["id"]], step
            got = keeper.http.get(f"{PATH}/{answer['id']}:download", headers=keeper.headers)
            assert hashlib.sha256(got.content).hexdigest() == answer["sha256"], step
            _hurry(suite)
            eventually(lambda n=made: len(_kept(suite, keeper)) == n, 30)
        steps = ["before DeleteAttachment, commit 1", "after DeleteAttachment, commit 1"]
        steps += ["before commit in the background", "after commit in the background"]
        for step in steps:
            customer = _customer(keeper)
            id = _send(keeper, customer, str(uuid4())).json()["id"]
            key = str(uuid4())
            headers = {**keeper.headers, "idempotency-key": key}
            _through(rig, step, lambda i=id, h=headers: keeper.http.delete(f"{PATH}/{i}", headers=h))
            assert _listed(keeper, customer) == [], step
            eventually(lambda: len(_kept(suite, keeper)) == made, 60)


def test_the_service_dies_while_a_leads_files_follow_it(
    suite: Suite, keeper: Any, eventually: Callable[..., Any], tmp_path: Path
) -> None:
    """Copies are made once each, wherever it dies: before and after the note, the key, the bytes and the row."""
    with rigged(suite, "customers", tmp_path / "rig") as rig:
        for number, (when, others) in enumerate(
            [("after", 0), ("before", 2), ("after", 2), ("before", 3)], 1
        ):
            lead = keeper.post("/v1/leads", {"name": "王芳", "companyName": f"用友 {uuid4()}"})["id"]
            on = {"recordType": "lead", "recordId": lead}
            keeper.post("/v1/leads/notes", {**on, "text": "rings back"})
            keeper.ask("POST", "/v1/leads/attachments", data=on, files={"file": ("合同.pdf", CONTENT)})
            # The event is taken in, then come the note, the key and the row.
            rig.arm(f"{when} commit in the background", others)
            customer = keeper.post(f"/v1/leads/{lead}:convert")["customerId"]
            rig.died(90)
            rig.part.start()
            asked = {"recordType": "customer", "recordId": customer}
            eventually(partial(_has_one, keeper, asked), 90)
            assert keeper.get("/v1/customers/notes", params=asked)["totalCount"] == 1
            [file] = _listed(keeper, customer)
            got = keeper.http.get(f"{PATH}/{file['id']}:download", headers=keeper.headers)
            assert got.content == CONTENT
            _hurry(suite)
            eventually(lambda n=number: len(_kept(suite, keeper)) == n, 60)


def test_the_service_is_killed_while_a_file_comes_in(
    suite: Suite, keeper: Any, eventually: Callable[..., Any]
) -> None:
    customer, part = _customer(keeper), suite.services["customers"]

    def body() -> Iterator[bytes]:
        for name, value in (("recordType", "customer"), ("recordId", customer)):
            yield f'--e\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        yield b'--e\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
        for number in range(40):
            yield b"\1" * 512 * 1024
            if number == 30:
                eventually(lambda: _kept(suite, keeper))  # a half of it is on the disk
                part.kill()
        yield b"\r\n--e--\r\n"

    headers = {**keeper.headers, "content-type": "multipart/form-data; boundary=e"}
    try:
        answer = keeper.http.post(PATH, content=body(), headers=headers)
    finally:
        part.start()
    assert answer.status_code in (503, 504) and answer.json()["reason"], answer.text
    assert _listed(keeper, customer) == []
    assert len(_kept(suite, keeper)) == 1, "nobody has tidied up: the process is dead"
    _hurry(suite)
    eventually(lambda: not _kept(suite, keeper), 30)
    assert _send(keeper, customer, str(uuid4())).status_code == 200
