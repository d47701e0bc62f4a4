"""Who may do what: every method of the contracts by every kind of caller of two companies, and all rows before and after."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.contracts import Method
from kehu_local.suite import Suite
from proof.company import World, claims_of
from proof.matrix import (
    ACTORS,
    HARMLESS,
    METHODS,
    REFUSALS,
    RIGHTS_BY_TYPE,
    ROUTES,
    SIGNED_IN,
    UNOWNED,
    Caller,
    Cast,
    Outcome,
    Tried,
    attempt,
    cast,
    cells,
    expected,
)
from proof.rig import rigged

_UNFORMED = {"CreateWebForm", "CreateCustomField"}
"""Methods whose requests cannot be made from the contract alone: two fields of a form may not have one key, and what else a
custom field has depends on its kind."""
_HASHES = {"SignIn", "ChangePassword"}
"""Methods that answer late on purpose: the first and the last kind of caller are enough here. `make proof` tries them all."""


def callers_of(method: Method, people: Cast) -> list[Caller]:
    return [people.callers[0], people.callers[-1]] if method.name in _HASHES else people.callers


@pytest.fixture(scope="module")
def people(suite: Suite, world: World, rival: Any) -> Iterator[Cast]:
    """A caller of each kind."""
    made = cast(suite, world, rival)
    yield made
    made.close()


@pytest.fixture(scope="module")
def rows(people: Cast, world: World, rival: Any, rows_of: Any) -> Any:
    """The rows of both companies, at rest."""
    look = rows_of(world.tenant_id, claims_of(rival)["tid"])
    look.settled()
    return look


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name)
def test_who_may_not_learns_nothing_and_changes_nothing(method: Method, people: Cast, rows: Any) -> None:
    tried = Tried()
    some = [cell for cell in cells(method, callers_of(method, people)) if cell.outcome in HARMLESS]
    attempt(people, some, rows, tried)
    assert tried.faults == []


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name)
def test_who_may_is_let_to_the_record(method: Method, people: Cast) -> None:
    """Without this the refusals would prove nothing: the requests are right, and the records are there."""
    tried = Tried()
    some = [cell for cell in cells(method, callers_of(method, people)) if cell.outcome not in HARMLESS]
    attempt(people, some, None, tried)
    assert tried.faults == []
    assert tried.vague <= _UNFORMED


def test_the_matrix_is_whole() -> None:
    outcomes = {method.full_name: {expected(method, actor) for actor in ACTORS} for method in METHODS}
    assert len(METHODS) > 160 and len(ROUTES) > 150
    assert {"people", "privacy", "products", "settings"} == UNOWNED
    anybody = {m.full_name for m in METHODS if m.access.signed_in and m.service not in RIGHTS_BY_TYPE}
    assert anybody == set(SIGNED_IN)
    for method in METHODS:
        if not method.access.public:
            assert Outcome.STRANGER in outcomes[method.full_name]
        if method.access.right:
            assert Outcome.DENIED in outcomes[method.full_name]
    writes = [m for m in METHODS if m.access.right and not m.reads]
    assert all(REFUSALS & outcomes[m.full_name] for m in writes)


def test_what_is_written_before_the_refusal_and_what_is_shown_to_all_is_seen(
    suite: Suite, people: Cast, rows: Any, tmp_path: Path
) -> None:
    """Both checks can fail: on a use case that writes first and authorises later, and on lists that forget whose records
    they show."""
    planted = {"QualifyLead", "ListLeads", "GetLead"}
    with rigged(suite, "leads", tmp_path / "rig", ["writes_first", "shows_everything"]):
        rows.settled()
        tried: dict[str, Tried] = {}
        for method in METHODS:
            if method.name in planted and method.domain == "leads":
                some = [
                    cell for cell in cells(method, callers_of(method, people)) if cell.outcome in HARMLESS
                ]
                attempt(people, some, rows, tried.setdefault(method.name, Tried()))
    assert tried["QualifyLead"].changes == 1
    assert tried["ListLeads"].leaks and tried["GetLead"].leaks
    rows.settled()
