"""Somebody signed in at a suite, and what they can do through its gateway."""

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from chassis.principal import GATEWAY, Principal, Verifier
from kehu_local.suite import Suite


@dataclass
class Person:
    """Asks as that person. Tokens live five minutes: `sign_in` gets the next."""

    http: httpx.Client
    tenant: str
    email: str
    password: str
    headers: dict[str, str] = field(default_factory=dict[str, str])

    def sign_in(self) -> "Person":
        """Gets a token. Raises AssertionError with the answer when it is refused."""
        said = {"tenant": self.tenant, "email": self.email, "password": self.password}
        answer = self.http.post("/v1/sessions:signIn", json=said)
        assert answer.status_code == 200, answer.text
        self.headers = {"authorization": f"Bearer {answer.json()['accessToken']}"}
        return self

    def ask(self, method: str, path: str, *, expect: int = 200, key: str = "", **sent: Any) -> Any:
        """The JSON of an answer. Raises AssertionError when it has not the expected status."""
        headers = {**self.headers, **({"idempotency-key": key} if key else {})}
        answer = self.http.request(method, path, headers=headers, **sent)
        assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else {}

    def get(self, path: str, **sent: Any) -> Any:
        """GET."""
        return self.ask("GET", path, **sent)

    def post(self, path: str, body: Any = None, **sent: Any) -> Any:
        """POST of a JSON body."""
        return self.ask("POST", path, json={} if body is None else body, **sent)


def sign_in_again(person: Person, tries: int = 10) -> None:
    """Gets a token where the machine may be so busy that it takes several tries."""
    for _ in range(tries - 1):
        with suppress(AssertionError):
            person.sign_in()
            return
    person.sign_in()


def principal_of(suite: Suite, person: Person) -> Principal:
    """Who the person is, by the token that they hold; that opens the gateway and none of the services."""
    held = person.headers["authorization"].removeprefix("Bearer ")
    return Verifier.from_file(suite.keys.jwks, GATEWAY).verify(held)


def administrator(suite: Suite) -> Person:
    """The first administrator of a suite that was started with `keep_password=True`, signed in."""
    assert suite.sign_in is not None
    who = suite.sign_in
    http = httpx.Client(base_url=suite.base_url, timeout=30)
    return Person(http, who.tenant, who.email, who.password).sign_in()
