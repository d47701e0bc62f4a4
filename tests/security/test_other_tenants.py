"""What another company's administrator sees of ours past single routes: the view of a customer, and live events."""

from typing import Any

import pytest

from proof.company import World


@pytest.fixture(scope="module")
def ours(world: World, rival: Any, rows_of: Any) -> Any:
    look = rows_of(world.tenant_id)
    look.settled()
    rival.sign_in()
    return look


def test_a_change_would_be_seen(world: World, ours: Any) -> None:
    world.owner.sign_in()
    ours.settled()
    world.owner.ask("PATCH", f"/v1/leads/{world.ids['lead_id']}", json={"notes": "changed"})
    assert not ours.unchanged()
    ours.settled()


def test_the_view_of_our_customer(world: World, rival: Any, ours: Any) -> None:
    path = f"/v1/customers/{world.ids['customer_id']}:view360"
    answer = rival.http.get(path, headers=rival.sign_in().headers)
    assert answer.status_code == 404 and "Ours-" not in answer.text
    assert ours.unchanged()


def test_the_live_stream_tells_each_company_its_own(world: World, rival: Any) -> None:
    world.owner.sign_in()
    with rival.http.stream("GET", "/v1/events:stream", headers=rival.sign_in().headers, timeout=30) as stream:
        lines = stream.iter_lines()
        next(lines)  # the stream is open
        world.owner.post("/v1/leads", {"name": "Ours-7f3c9e heard by nobody else"})
        theirs = rival.post("/v1/leads", {"name": "Heard at home"})["id"]
        heard = ""
        for line in lines:
            heard += line
            if theirs in line:
                break
    assert "Ours-" not in heard and world.tenant_id not in heard
