"""The whole suite as real processes, once for all tests across services."""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from kehu_local.suite import Suite, start_suite
from proof import commands

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """PostgreSQL, NATS, every installed service and the gateway, below one folder."""
    # Many tests sign in, and made-up calls knock at every door; the limits themselves are the gateway's tests' business.
    # Many kill, and are not about the half minute that jobs and events of the dead wait for others.
    doors = {
        "KEHU_DOOR_RATE_PER_MINUTE": "100000", "KEHU_ERASURE_PAUSE_SECONDS": "1", "KEHU_JOB_LEASE_SECONDS": "6",
        "KEHU_EVENT_LEASE_SECONDS": "6",
    }  # fmt: skip
    with start_suite(tmp_path_factory.mktemp("suite"), keep_password=True, environment=doors) as running:
        yield running


@dataclass
class Person:
    """Somebody signed in, and what they can do through the gateway."""

    http: httpx.Client
    tenant: str
    email: str
    password: str
    headers: dict[str, str] = field(default_factory=dict[str, str])

    def sign_in(self) -> "Person":
        """Gets a token of five minutes."""
        said = {"tenant": self.tenant, "email": self.email, "password": self.password}
        answer = self.http.post("/v1/sessions:signIn", json=said)
        assert answer.status_code == 200, answer.text
        self.headers = {"authorization": f"Bearer {answer.json()['accessToken']}"}
        return self

    def ask(self, method: str, path: str, *, expect: int = 200, key: str = "", **sent: Any) -> Any:
        """The JSON of an answer, which must have the expected status."""
        headers = {**self.headers, **({"idempotency-key": key} if key else {})}
        answer = self.http.request(method, path, headers=headers, **sent)
        if answer.status_code == 401 != expect and answer.json().get("reason") == "TOKEN_EXPIRED":
            self.sign_in()  # a sign-in lasts five minutes
            answer = self.http.request(method, path, headers={**headers, **self.headers}, **sent)
        assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else {}

    def get(self, path: str, **sent: Any) -> Any:
        """GET."""
        return self.ask("GET", path, **sent)

    def post(self, path: str, body: Any = None, **sent: Any) -> Any:
        """POST of a JSON body."""
        return self.ask("POST", path, json={} if body is None else body, **sent)


@pytest.fixture(scope="session")
def http(suite: Suite) -> Iterator[httpx.Client]:
    """A client of the gateway."""
    with httpx.Client(base_url=suite.base_url, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def boss(suite: Suite, http: httpx.Client) -> Person:
    """The first administrator."""
    assert suite.sign_in is not None
    return Person(http, suite.sign_in.tenant, suite.sign_in.email, suite.sign_in.password).sign_in()


@pytest.fixture(scope="session")
def founded(suite: Suite, http: httpx.Client) -> Callable[[str], Person]:
    """Founds a tenant of that name, so that a test has one of its own; its first administrator, signed in."""

    def found(tenant: str) -> Person:
        made = commands.founded(suite, tenant)
        return Person(http, made.tenant, made.email, made.password).sign_in()

    return found


@pytest.fixture(scope="session")
def colleague(boss: Person) -> Callable[[str], Person]:
    """Makes a person with the role of that name, who has chosen a password of their own and is signed in."""

    def make(role: str) -> Person:
        number = next(_NUMBERS)
        roles = {r["name"]: r["id"] for r in boss.get("/v1/roles")["roles"]}
        email = f"colleague{number}@demo.example"
        body = {
            "email": email,
            "displayName": f"Colleague {number}",
            "roleIds": [roles[role]] if role else [],
        }
        made = boss.post("/v1/people", body)
        person = Person(boss.http, boss.tenant, email, made["oneTimePassword"]).sign_in()
        chosen = "four words of my own"
        person.post("/v1/me:changePassword", {"currentPassword": person.password, "newPassword": chosen})
        person.password = chosen
        return person.sign_in()

    return make


@pytest.fixture(scope="session")
def eventually() -> Callable[[Callable[[], Any]], Any]:
    """Waits until a condition gives something true, and gives that."""

    def wait(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
        until = time.monotonic() + seconds
        while True:
            found = condition()
            if found:
                return found
            if time.monotonic() > until:
                raise AssertionError(f"not within {seconds} seconds: {condition}")
            time.sleep(0.05)

    return wait
