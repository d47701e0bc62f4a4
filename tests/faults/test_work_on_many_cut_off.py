"""A sweep for duplicates, a transfer of many customers, and the taking back of idle customers and leads, whose service dies in
the middle: what is left is done, nothing is done twice."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest

from kehu_local.suite import Suite
from proof.found import rows
from proof.rig import Rig, rigged

pytestmark = pytest.mark.timeout(600)
_RECORDS = 250
"""Three parts of a hundred."""


@dataclass(frozen=True)
class _Pool:
    """What takes idle records back. `idle` makes all of a tenant so, by their owner and long warned."""

    domain: str
    table: str
    rule: str
    days: str
    job: str
    event: str
    idle: str


_CUSTOMERS = _Pool(
    "customers", "customers", "/v1/poolRule", "idleDays", "return idle customers", "customer.returned",
    "UPDATE customers SET owner_id = $2, created_at = now() - interval '60 days', assign_time = now() - interval '60 days',"
    " return_time = now() - interval '1 hour', pool_time = NULL WHERE tenant_id = $1",
)  # fmt: skip
_LEADS = _Pool(
    "leads", "leads", "/v1/leadHandling", "reclaimIdleDays", "reclaim", "lead.reclaimed",
    "UPDATE leads SET owner_id = $2, acceptance = '', touch_time = now() - interval '60 days',"
    " reclaim_time = now() - interval '1 hour', pool_time = NULL WHERE tenant_id = $1",
)  # fmt: skip


@dataclass(frozen=True)
class _Company:
    suite: Suite
    boss: Any
    tenant: UUID
    person: str
    eventually: Callable[..., Any]

    def rows(self, domain: str, sql: str, *values: object) -> list[dict[str, Any]]:
        """Rows of this tenant, whose id is the first value."""
        return rows(self.suite, domain, sql, self.tenant, *values)

    def versions(self, domain: str) -> dict[UUID, int]:
        """Of all customers, or leads."""
        found = self.rows(domain, f"SELECT id, version FROM {domain} WHERE tenant_id = $1")
        return {row["id"]: row["version"] for row in found}

    def told(self, domain: str, event: str) -> Counter[UUID]:
        """How often that was told of each record."""
        sql = "SELECT record_id FROM outbox WHERE tenant_id = $1 AND subject LIKE '%.' || $2"
        return Counter(row["record_id"] for row in self.rows(domain, sql, event))


@pytest.fixture(scope="module")
def company(suite: Suite, founded: Callable[[str], Any], eventually: Callable[..., Any]) -> _Company:
    boss = founded(f"cut-{uuid4().hex[:8]}")
    token = boss.headers["authorization"].removeprefix("Bearer ")
    tenant = UUID(jwt.decode(token, options={"verify_signature": False})["tid"])
    roles = {role["name"]: role["id"] for role in boss.get("/v1/roles")["roles"]}
    asked = {"email": "member@cut.example", "displayName": "Member", "roleIds": [roles["Member"]]}
    return _Company(suite, boss, tenant, boss.post("/v1/people", asked)["person"]["id"], eventually)


def _import(company: _Company, domain: str) -> None:
    """So many records, each two of which have a number in common."""
    lines = "".join(f"{uuid4().hex},1390000{n // 2:04d}\n" for n in range(_RECORDS))
    file = {"file": ("c.csv", f"Name,Phone\n{lines}".encode(), "text/csv")}
    asked = {"recordType": domain.removesuffix("s")}
    made = company.boss.ask("POST", f"/v1/{domain}/imports", data=asked, files=file)
    company.boss.post(f"/v1/{domain}/imports/{made['id']}:start", {})
    company.eventually(lambda: len(company.versions(domain)) == _RECORDS, 90)


def _dies(rig: Rig, domain: str) -> None:
    rig.died(60)
    # Half a minute would pass until the jobs of the dead are another's: what happens then is looked at, not the waiting.
    rows(rig.suite, domain, "UPDATE jobs SET leased_until = NULL")


def _swept(company: _Company, rig: Rig, step: str, others: int, new: int) -> None:
    boss = company.boss
    rig.arm(step, others)
    id = boss.post("/v1/customers/duplicateSweeps", {"recordType": "customer"})["id"]
    _dies(rig, "customers")
    sql = "SELECT processed_records AS done FROM duplicate_sweeps WHERE tenant_id = $1 AND id = $2"
    assert company.rows("customers", sql, UUID(id))[0]["done"] < _RECORDS
    rig.part.start()

    def over() -> Any:
        answer = boss.http.get(f"/v1/customers/duplicateSweeps/{id}", headers=boss.headers)
        return answer.status_code == 200 and answer.json()["state"].endswith("SUCCEEDED") and answer.json()

    done = company.eventually(over, 90)
    assert (done["processedRecords"], done["foundPairs"]) == (_RECORDS, _RECORDS // 2), (step, others)
    assert done.get("newPairs", 0) == new, (step, others)
    phones = company.rows("customers", "SELECT id, phone FROM customers WHERE tenant_id = $1")
    of = {row["id"]: row["phone"] for row in phones}
    pairs = company.rows("customers", "SELECT first_id, second_id FROM duplicate_pairs WHERE tenant_id = $1")
    assert len(pairs) == _RECORDS // 2 and all(of[one["first_id"]] == of[one["second_id"]] for one in pairs)


def _given(company: _Company, rig: Rig, step: str, owner: str, asked: dict[str, Any]) -> None:
    boss, before = company.boss, company.versions("customers")
    owned = "SELECT count(*) AS many FROM customers WHERE tenant_id = $1 AND owner_id = $2"
    told = company.told("customers", "customer.assigned")
    rig.arm(step)
    answer = boss.http.post("/v1/customers:transfer", json={**asked, "ownerId": owner}, headers=boss.headers)
    assert answer.status_code >= 500, answer.text
    _dies(rig, "customers")
    given = company.rows("customers", owned, UUID(owner))[0]["many"]
    assert 0 < given < _RECORDS
    rig.part.start()
    # Asked once more, it gives the others.
    done = boss.post("/v1/customers:transfer", {**asked, "ownerId": owner})
    assert (done["transferredCount"], done["unchangedCount"]) == (_RECORDS - given, given), step
    assert company.versions("customers") == {id: version + 1 for id, version in before.items()}
    assert company.told("customers", "customer.assigned") - told == Counter(dict.fromkeys(before, 1))


def _taken_back(company: _Company, rig: Rig, pool: _Pool, step: str) -> None:
    company.boss.ask("PATCH", pool.rule, json={pool.days: 30})
    waits = "SELECT 1 FROM jobs WHERE tenant_id = $1 AND kind = $2 AND due_at > now()"
    company.eventually(partial(company.rows, pool.domain, waits, pool.job))
    company.rows(pool.domain, pool.idle, UUID(company.person))
    before = company.versions(pool.domain)
    rig.arm(step, 1, pool.job)
    due = "UPDATE jobs SET due_at = now(), leased_until = NULL WHERE tenant_id = $1 AND kind = $2"
    company.rows(pool.domain, due, pool.job)
    _dies(rig, pool.domain)
    left = f"SELECT id FROM {pool.table} WHERE tenant_id = $1 AND owner_id IS NOT NULL"
    assert 0 < len(company.rows(pool.domain, left)) < _RECORDS, step
    rig.part.start()
    company.eventually(lambda: not company.rows(pool.domain, left), 90)
    assert company.versions(pool.domain) == {id: version + 1 for id, version in before.items()}
    assert company.told(pool.domain, pool.event) == Counter(dict.fromkeys(before, 1))


def test_customers_dies_in_the_middle(company: _Company, tmp_path: Path) -> None:
    _import(company, "customers")
    with rigged(company.suite, "customers", tmp_path / "rig") as rig:
        # Each part of a sweep looks where it stands, and then writes.
        _swept(company, rig, "before commit in the background", 3, _RECORDS // 2)
        _swept(company, rig, "after commit in the background", 3, 0)
        chosen = {"filter": "createTime > -1d"}
        _given(company, rig, "before TransferCustomers, commit 2", company.person, chosen)
        me = company.boss.get("/v1/me")["person"]["id"]
        _given(company, rig, "after TransferCustomers, commit 2", me, chosen)
        _taken_back(company, rig, _CUSTOMERS, "after commit in the background")


def test_leads_dies_in_the_middle(company: _Company, tmp_path: Path) -> None:
    _import(company, "leads")
    with rigged(company.suite, "leads", tmp_path / "rig") as rig:
        _taken_back(company, rig, _LEADS, "before commit in the background")
