"""Each checker of faults finds the bug it is there for, planted into a running service. That it finds nothing in sound services
is shown by the other tests of faults, which rest on it.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from kehu_local.suite import Suite
from proof import found
from proof.checkers import (
    OrderFound,
    conversion_faults,
    effect_faults,
    message_faults,
    order_faults,
    poison_faults,
)
from proof.experiments import poison
from proof.found import Message
from proof.rig import rigged

TENANT = "planted"
"""What is lost here stays lost: in a tenant of its own it troubles no other test."""
PLACED = f"kehu.{TENANT}.sales.order.placed"


@pytest.fixture(scope="module")
def boss(founded: Callable[[str], Any]) -> Any:
    """The administrator of that tenant."""
    return founded(TENANT)


@pytest.fixture(autouse=True)
def signed_in(boss: Any) -> None:
    boss.sign_in()


def _placed(boss: Any) -> str:
    product = {"name": f"Pump {uuid4()}", "listPrice": {"currencyCode": "CNY", "units": "10"}}
    customer = boss.post("/v1/customers", {"displayName": "Buyer"})["id"]
    line = {"productId": boss.post("/v1/products", product)["id"], "quantity": "1"}
    return boss.post("/v1/orders", {"customerId": customer, "lines": [line]}, params={"place": "true"})["id"]


def test_a_conversion_without_fixed_ids_is_seen(
    suite: Suite, boss: Any, eventually: Callable[..., Any], tmp_path: Path
) -> None:
    lead = boss.post("/v1/leads", {"name": "Li Lei", "companyName": f"Twice {uuid4()}"})["id"]
    convert: dict[str, Any] = {"url": f"/v1/leads/{lead}:convert", "json": {"opportunity": {}}}
    with rigged(suite, "leads", tmp_path / "rig", ["fresh_ids"]) as rig:
        rig.arm("after ConvertLead, CreateCustomer 1")
        assert boss.http.post(**convert, headers=boss.headers).status_code == 503
        rig.died()
        rig.part.start()
        eventually(lambda: found.leads(suite, [lead], TENANT)[lead].events, 30)
    assert conversion_faults(found.leads(suite, [lead], TENANT)[lead]) == [
        f"lead {lead} has become 2 of kind customer"
    ]


@pytest.mark.parametrize(
    ("plant", "step", "times"),
    [
        ("sent_before_publishing", "before sending order.placed", 0),
        ("unnamed_messages", "after sending order.placed", 2),
    ],
)
def test_a_relay_that_loses_or_doubles_is_seen(
    suite: Suite,
    boss: Any,
    eventually: Callable[..., Any],
    tmp_path: Path,
    plant: str,
    step: str,
    times: int,
) -> None:
    with rigged(suite, "sales", tmp_path / "rig", [plant]) as rig:
        rig.arm(step)
        order = _placed(boss)
        rig.died()
        rig.part.start()
        eventually(lambda: found.unsent(suite) == 0, 30)
        told = [message for message in found.messages(suite, PLACED) if message.record_id == order]
    assert message_faults([order], told) == [f"{order} was told of {times} times"]


@pytest.mark.parametrize(
    ("plants", "times"),
    [(["lost_acks"], 1), (["lost_acks", "no_inbox"], 2)],
    ids=["sound", "without an inbox"],
)
def test_an_effect_that_is_doubled_is_seen(
    suite: Suite, boss: Any, eventually: Callable[..., Any], tmp_path: Path, plants: Sequence[str], times: int
) -> None:
    with found.tallied(suite, "customers"), rigged(suite, "customers", tmp_path / "rig", ["tally", *plants]):
        order = _placed(boss)
        told = _told(suite, order, eventually)
        eventually(lambda: found.effects(suite, "customers") and _all_acknowledged(suite), 30)
        faults = effect_faults(told, found.effects(suite, "customers"))
    assert faults == ([] if times == 1 else [f"event {told[0].event_id} took effect {times} times"])


@pytest.mark.parametrize(
    ("plants", "step", "times"),
    [
        ([], "after commit in the background", 1),
        (["marked_before_the_effect"], "between the mark of order.placed and its effect", 0),
        (["marked_after_the_effect"], "between the effect of order.placed and its mark", 2),
    ],
    ids=["sound", "marked before", "marked after"],
)
def test_an_inbox_outside_of_the_transaction_is_seen(
    suite: Suite,
    boss: Any,
    eventually: Callable[..., Any],
    tmp_path: Path,
    plants: Sequence[str],
    step: str,
    times: int,
) -> None:
    with (
        found.tallied(suite, "customers"),
        rigged(suite, "customers", tmp_path / "rig", ["tally", "short_ack_wait", *plants]) as rig,
    ):
        eventually(lambda: _all_acknowledged(suite), 30)
        rig.arm(step)
        order = _placed(boss)
        told = _told(suite, order, eventually)
        rig.died()
        rig.part.start()
        eventually(lambda: _all_acknowledged(suite), 60)
        faults = effect_faults(told, found.effects(suite, "customers"))
    assert faults == ([] if times == 1 else [f"event {told[0].event_id} took effect {times} times"])


@pytest.mark.parametrize(
    ("plants", "times"), [(["late_commit"], 1), (["naive_cursor", "late_commit"], 0)], ids=["sound", "naive"]
)
def test_a_relay_that_reads_on_from_the_last_event_is_seen(
    suite: Suite, boss: Any, eventually: Callable[..., Any], tmp_path: Path, plants: Sequence[str], times: int
) -> None:
    def made(name: str) -> str:
        return boss.post("/v1/customers", {"displayName": f"{name} {uuid4()}"})["id"]

    def told() -> list[Message]:
        return found.messages(suite, f"kehu.{TENANT}.customers.customer.created")

    rig_folder = tmp_path / "rig"
    with rigged(suite, "customers", rig_folder, plants), ThreadPoolExecutor(1) as pool:
        late = pool.submit(made, "Late")
        eventually(lambda: (rig_folder / "held").exists())
        early = made("Early")
        both = [late.result(30), early]
        last = made("Last")
        eventually(lambda: last in {one.record_id for one in told()})
        wrong = message_faults([*both, last], [one for one in told() if one.record_id in {*both, last}])
    assert wrong == ([] if times else [f"{both[0]} was told of 0 times"])


def test_an_effect_that_is_lost_is_seen(
    suite: Suite, boss: Any, eventually: Callable[..., Any], tmp_path: Path
) -> None:
    plants = ["tally", "ack_before_commit"]
    with found.tallied(suite, "customers"), rigged(suite, "customers", tmp_path / "rig", plants) as rig:
        rig.arm("between the ack of order.placed and its effect")
        order = _placed(boss)
        told = _told(suite, order, eventually)
        rig.died()
        rig.part.start()
        eventually(lambda: _all_acknowledged(suite), 30)
        faults = effect_faults(told, found.effects(suite, "customers"))
    assert faults == [f"event {told[0].event_id} took effect 0 times"]


@pytest.mark.parametrize(
    ("plants", "letters"),
    [(["unreadable"], 1), (["unreadable", "no_dead_letters"], 0)],
    ids=["sound", "without dead letters"],
)
def test_an_event_that_is_given_up_and_forgotten_is_seen(
    suite: Suite,
    boss: Any,
    eventually: Callable[..., Any],
    tmp_path: Path,
    plants: Sequence[str],
    letters: int,
) -> None:
    with found.tallied(suite, "customers"), rigged(suite, "customers", tmp_path / "rig", ["tally", *plants]):
        order = _placed(boss)
        told = _told(suite, order, eventually)
        eventually(lambda: _all_acknowledged(suite), 30)
        kept = [one.event_id for one in poison.letters(suite)]
        faults = poison_faults(kept, found.effects(suite, "customers"), told)
    wrong = f"event {told[0].event_id} took effect 0 times and is 0 dead letters"
    assert faults == ([] if letters else [wrong])


def _told(suite: Suite, order: str, eventually: Callable[..., Any]) -> list[Message]:
    return eventually(lambda: [one for one in found.messages(suite, PLACED) if one.record_id == order])


def _all_acknowledged(suite: Suite) -> bool:
    return found.waiting(suite, "SALES", "customers") == 0


def test_orders_lost_doubled_or_numbered_twice_are_seen() -> None:
    kept = [OrderFound("1", "a", "SO-1", "PLACED"), OrderFound("2", "b", "SO-2", "PLACED")]
    answered = {"a": ("1", "SO-1"), "b": ("2", "SO-2")}
    assert order_faults(answered, ["a", "b", "c"], kept) == []
    assert order_faults(answered, ["a", "b"], kept[:1]) == [
        "b was acknowledged as order SO-2, which is not there"
    ]
    twice = [*kept, OrderFound("3", "c", "SO-3", "DRAFT"), OrderFound("4", "c", "SO-3", "DRAFT")]
    assert order_faults(answered, ["a", "b", "c"], twice) == [
        "c has become 2 orders",
        "2 orders bear the number SO-3",
    ]
    draft = [kept[0], OrderFound("2", "b", "SO-2", "DRAFT")]
    assert order_faults(answered, ["a", "b"], draft) == ["b was acknowledged as placed, and is not"]
    assert order_faults({}, [], kept[:1]) == ["order SO-1 was asked for by nobody"]
    assert message_faults(["1"], [Message("e", "1"), Message("f", "2")]) == [
        "2 was told of and has not changed"
    ]
