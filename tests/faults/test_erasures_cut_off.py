"""An erasure whose services die at any step: it goes on when they are back, and nothing of the person is left.

The steps of all services are listed by an erasure that nobody disturbs; in further ones they die, each at a step of its own. With
KEHU_EVERY_STEP=1 they do so until each has died at all of its steps. Else each service dies, and customers, which carries the
erasure on, at the last step of each kind (a commit of a call, one in the background, a call to another service, a message);
before and after in turn. In one of them nobody hurries the job on: it is taken up when the lease of the dead has run out.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest

from kehu_local.suite import Suite
from proof.boundaries import EVERY, chosen
from proof.found import rows, unsent
from proof.left_behind import databases_of, places
from proof.rig import Rig, rigged

pytestmark = pytest.mark.timeout(3600 if EVERY else 600)


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


_AT_ONCE = "UPDATE jobs SET due_at = now() WHERE kind = 'erasure' AND due_at > now() AND leased_until IS NULL"
_LEFT = "UPDATE jobs SET leased_until = NULL, due_at = now() WHERE kind = 'erasure'"
"""Until a job is taken up again whose service died, or that has asked the dead in vain, time would pass that tells nothing."""
_OTHERS = {
    "before commit in the background": 2, "after commit in the background": 3, "after ErasePersonalData in the background": 4,
}  # fmt: skip
"""Not the first of them: it is to have come some way."""


def _ends(
    suite: Suite, boss: Any, rigs: Mapping[str, Rig], eventually: Callable[..., Any], steps: Mapping[str, str], *, hurried: bool
) -> None:  # fmt: skip
    """An erasure in which each of these services dies at that step, and is there again at once."""
    contact, words = _known(boss)
    eventually(lambda: unsent(suite) == 0)
    for name, step in steps.items():
        # Others work in the background of customers, too.
        job = "erasure" if name == "customers" and step.endswith("in the background") else ""
        rigs[name].arm(step, _OTHERS.get(step, 0), job)
    key = str(uuid4())
    asked = {"recordType": "contact", "recordId": contact}
    died: dict[str, str] = {}

    looked = time.monotonic()

    def revived() -> bool:
        nonlocal looked
        for name, rig in rigs.items():
            if not rig.part.alive:
                assert rig.part.process.exit_code == -9 and name not in died, (name, died)
                died[name] = steps[name]
                rig.part.start()
                # While customers lives the job is its own, whoever else has died.
                if hurried and name == "customers":
                    rows(suite, "customers", _LEFT)
        if hurried and time.monotonic() > looked + 0.5:
            looked = time.monotonic()
            rows(suite, "customers", _AT_ONCE)
        return True

    def begun() -> Any:
        revived()
        answer = boss.http.post("/v1/erasures", json=asked, headers={**boss.headers, "idempotency-key": key})
        assert answer.status_code in (200, 503, 504), answer.text
        return answer.status_code == 200 and answer.json()["id"]

    id = eventually(begun, 60)
    eventually(
        lambda: revived() and _ended(boss, id), 300
    )  # as many as die must come back, one after another
    eventually(lambda: revived() and died.keys() == steps.keys(), 120)
    assert len(boss.get("/v1/erasures", params={"filter": f'recordId = "{contact}"'})["erasures"]) == 1
    assert boss.http.get(f"/v1/contacts/{contact}", headers=boss.headers).status_code == 404
    assert asyncio.run(places(databases_of(suite), _tenant(boss), words)) == [], steps


def test_all_die_in_each_erasure(
    suite: Suite, signed_in: Any, eventually: Callable[..., Any], tmp_path: Path
) -> None:
    boss = signed_in
    holders = ("analytics", "customers", "leads", "marketing", "notifications", "sales", "servicedesk")
    with ExitStack() as stack:
        rigs = {name: stack.enter_context(rigged(suite, name, tmp_path / name)) for name in holders}
        contact, _ = _known(boss)
        eventually(lambda: unsent(suite) == 0)
        with ExitStack() as listing:
            noted = {name: listing.enter_context(rig.noting()) for name, rig in rigs.items()}
            id = _begun(boss, contact)
            eventually(lambda: _ended(boss, id) and unsent(suite) == 0, 180)
        steps = {
            name: [step for step in dict.fromkeys(passed) if _of_erasing(step, name)]
            for name, passed in noted.items()
        }
        asked = {name for name, of in steps.items() if "before ErasePersonalData, commit 1" in of}
        assert asked == {*holders} - {"customers"}, steps
        turns = _turns(steps)
        # The first in which customers dies with the job in its hands.
        alone = next(
            place for place, now in enumerate(turns) if now.get("customers", "").endswith("in the background")
        )
        for place, now in enumerate(turns):
            _ends(suite, boss.sign_in(), rigs, eventually, now, hurried=place != alone)


def _turns(steps: Mapping[str, list[str]]) -> list[dict[str, str]]:
    """Who dies where, erasure by erasure."""
    if EVERY:
        most = max(map(len, steps.values()))
        return [{name: of[n] for name, of in steps.items() if n < len(of)} for n in range(most)]
    own = chosen(steps["customers"])
    assert len(own) == 8, own
    turns = [{"customers": own[2 * n + n % 2]} for n in range(len(own) // 2)]
    for place, name in enumerate(sorted({*steps} - {"customers"})):
        turns[place % len(turns)][name] = chosen(steps[name])[place // len(turns) % 2 ^ place % 2]
    return turns


def _of_erasing(step: str, domain: str) -> bool:
    """Whether it is one of an erasure: customers carries it on in the background, all others are asked."""
    if domain != "customers":
        return "ErasePersonalData" in step
    return "CreateErasure, commit" in step or step.endswith((
        "ErasePersonalData in the background", "commit in the background", "sending person.erased",
    ))  # fmt: skip
