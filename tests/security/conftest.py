"""A company with one record of everything, another company that wants it, and a look at every row of the first."""

from collections.abc import Callable
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
