"""A company with one record of everything, another company that wants it, and a look at every row of the first."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from kehu_local.suite import Suite
from proof.company import Rows, World, furnished


@pytest.fixture(scope="session")
def world(founded: Callable[[str], Any]) -> World:
    """The company ours.example."""
    return furnished(founded("ours"))


@pytest.fixture(scope="session")
def rival(founded: Callable[[str], Any], world: World) -> Any:
    """The administrator of another company."""
    person = founded("rival")
    person.post("/v1/customers", {"displayName": "A customer of theirs"})
    return person


@dataclass(frozen=True)
class Program:
    """Somebody who asks with an API key."""

    http: Any
    headers: dict[str, str]
    person_id: str

    def ask(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """The answer, whatever its status."""
        sent = {} if body is None else {"json": body}
        return self.http.request(
            method, path, headers={**self.headers, **more.pop("headers", {})}, **sent, **more
        )


def keyed(owner: Any) -> Program:
    """That administrator with an API key."""
    owner.sign_in()
    made = owner.post("/v1/apiKeys", {"name": "key"})
    return Program(owner.http, {"x-api-key": made["secret"]}, made["apiKey"]["personId"])


@pytest.fixture(scope="session")
def program() -> Callable[..., Program]:
    """Makes a person in the company of an administrator, with these rights (`{"leads": ("OWN", "OWN")}`), and a key of theirs."""
    numbers = itertools.count()

    def make(owner: Any, rights: Mapping[str, tuple[str, str]], **person: Any) -> Program:
        number = next(numbers)
        listed = [
            {
                "resource": f"RIGHT_RESOURCE_{name.upper()}",
                "read": f"REACH_{read}",
                **({} if write == "NONE" else {"write": f"REACH_{write}"}),
            }
            for name, (read, write) in rights.items()
        ]
        role = owner.post("/v1/roles", {"name": f"Program {number}", "rights": listed})["id"]
        email = f"program{number}@{owner.tenant}.example"
        body = {"email": email, "displayName": f"Program {number}", "roleIds": [role], **person}
        id = owner.post("/v1/people", body)["person"]["id"]
        key = owner.post("/v1/apiKeys", {"name": "key", "personId": id})["secret"]
        return Program(owner.http, {"x-api-key": key}, id)

    return make


@pytest.fixture(scope="session")
def us(world: World) -> Program:
    """Our administrator, with a key that outlives any sign-in."""
    return keyed(world.owner)


@pytest.fixture(scope="session")
def rows_of(suite: Suite) -> Any:
    """Makes a look at the rows of tenants."""
    made: list[Rows] = []

    def look(*tenants: str) -> Rows:
        made.append(Rows(suite, list(tenants)))
        return made[-1]

    yield look
    for one in made:
        one.close()
