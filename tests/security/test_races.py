"""Fifty at once: what may happen once happens once."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from kehu.identity.v1 import session_pb2, session_service_pb2

from chassis.principal import IDENTITY, Issuer, Principal
from kehu_local.suite import Suite
from proof import found
from proof.company import claims_of
from tests.security.conftest import Program, keyed

MANY = 50


def at_once(what: Callable[[int], Any]) -> list[Any]:
    """What fifty of them gave, begun as nearly together as can be."""
    with ThreadPoolExecutor(MANY) as pool:
        return list(pool.map(what, range(MANY)))


@pytest.fixture(scope="module")
def owner(founded: Callable[[str], Any]) -> Any:
    """The administrator of a company of its own."""
    return founded("races")


@pytest.fixture(scope="module")
def racer(owner: Any) -> Program:
    """The same with a key."""
    return keyed(owner)


def _statuses(answers: list[Any]) -> Counter[int]:
    """Of what was let in at all: a service that has too much to do says so at once."""
    counted = Counter(answer.status_code for answer in answers)
    assert not {status for status in counted if status >= 500 and status != 503}, counted
    return counted


def test_fifty_conversions_make_one_customer(
    suite: Suite, racer: Program, eventually: Callable[..., Any]
) -> None:
    lead = racer.ask("POST", "/v1/leads", {"name": "Once", "companyName": f"Once {uuid4()}"}).json()["id"]
    answers = at_once(
        lambda n: racer.ask(
            "POST", f"/v1/leads/{lead}:convert", {"opportunity": {}}, headers={"idempotency-key": f"c{n}"}
        )
    )
    assert _statuses(answers)[200] >= 1
    state = eventually(lambda: _converted(suite, lead), 60)
    assert [len(many) for many in (state.customers, state.contacts, state.opportunities)] == [1, 1, 1]
    assert state.links == (state.customers[0], state.contacts[0], state.opportunities[0])
    assert state.events == 1


def _converted(suite: Suite, lead: str) -> Any:
    state = found.leads(suite, [lead], "races")[lead]
    return state if state.status == "CONVERTED" and state.events else None


def _draft(racer: Program) -> tuple[str, str]:
    product = racer.ask(
        "POST",
        "/v1/products",
        {"name": f"Pump {uuid4()}", "listPrice": {"currencyCode": "CNY", "units": "9"}},
    )
    customer = racer.ask("POST", "/v1/customers", {"displayName": "Buyer"}).json()["id"]
    lines = [{"productId": product.json()["id"], "quantity": "1"}]
    return racer.ask("POST", "/v1/orders", {"customerId": customer, "lines": lines}).json()["id"], customer


def test_fifty_placements_place_once(suite: Suite, racer: Program, eventually: Callable[..., Any]) -> None:
    order, _ = _draft(racer)
    answers = at_once(
        lambda n: racer.ask("POST", f"/v1/orders/{order}:place", {}, headers={"idempotency-key": f"p{n}"})
    )
    assert _statuses(answers)[200] >= 1
    placed = "SELECT count(*) AS n FROM outbox WHERE record_id = $1 AND subject LIKE '%order.placed'"
    assert found.rows(suite, "sales", placed, order)[0]["n"] == 1
    cancelled = at_once(lambda n: racer.ask("POST", f"/v1/orders/{order}:cancel", {"reason": f"{n}"}))
    _statuses(cancelled)
    gone = placed.replace("placed'", "cancelled'")
    assert found.rows(suite, "sales", gone, order)[0]["n"] <= 1


def test_fifty_repeats_make_one(suite: Suite, racer: Program) -> None:
    """The same request fifty times: one record, and all that are answered are answered alike."""
    key = str(uuid4())
    name = f"Repeated {key}"
    answers = at_once(
        lambda _: racer.ask("POST", "/v1/customers", {"displayName": name}, headers={"idempotency-key": key})
    )
    assert set(_statuses(answers)) <= {200, 409, 503}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 200}) == 1
    made = found.rows(suite, "customers", "SELECT count(*) AS n FROM customers WHERE display_name = $1", name)
    assert made[0]["n"] == 1
    email = f"{uuid4().hex}@races.example"
    people = at_once(lambda _: racer.ask("POST", "/v1/people", {"email": email, "displayName": "Once"}))
    assert _statuses(people)[200] == 1


class Port:
    """Identity's own port: sign-ins of one address are few in the gateway."""

    def __init__(self, suite: Suite) -> None:
        self._channel: Any = grpc.insecure_channel(suite.services["identity"].address)
        self._issuer = Issuer.from_file(IDENTITY, suite.keys.private(IDENTITY))

    def ask(self, method: str, request: Any, answer: Any, who: Principal | None = None) -> Any:
        """The answer, or the status by which it was refused."""
        call = self._channel.unary_unary(
            f"/kehu.identity.v1.SessionService/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        metadata = [("authorization", f"Bearer {self._issuer.issue(who)}")] if who else []
        try:
            return call(request, metadata=metadata, timeout=60)
        except grpc.RpcError as error:
            refused: Any = error
            return refused.code()

    def close(self) -> None:
        self._channel.close()


@pytest.fixture
def port(suite: Suite) -> Any:
    made = Port(suite)
    yield made
    made.close()


def test_fifty_uses_of_a_one_time_password_choose_one(port: Port, owner: Any) -> None:
    owner.sign_in()
    email = f"{uuid4().hex}@races.example"
    made = owner.post("/v1/people", {"email": email, "displayName": "Chosen"})
    secret = made["oneTimePassword"]
    who = Principal(
        tenant_id=claims_of(owner)["tid"], tenant="races", person_id=made["person"]["id"], must_change_password=True
    )  # fmt: skip

    def choose(n: int) -> Any:
        request = session_service_pb2.ChangePasswordRequest(
            current_password=secret, new_password=f"a passphrase number {n}"
        )
        return (
            port.ask("ChangePassword", request, Empty, who) if n < 8 else None
        )  # each takes a processor for long

    chosen = [n for n, answer in enumerate(at_once(choose)) if isinstance(answer, Empty)]
    assert len(chosen) == 1
    again = session_service_pb2.SignInRequest(tenant="races", email=email, password=secret)
    assert port.ask("SignIn", again, session_pb2.SessionTokens) is grpc.StatusCode.UNAUTHENTICATED
    again.password = f"a passphrase number {chosen[0]}"
    assert isinstance(port.ask("SignIn", again, session_pb2.SessionTokens), session_pb2.SessionTokens)


def test_fifty_uses_of_a_refresh_token_leave_one_that_works(suite: Suite, port: Port, owner: Any) -> None:
    asked = session_service_pb2.SignInRequest(tenant="races", email=owner.email, password=owner.password)
    first = port.ask("SignIn", asked, session_pb2.SessionTokens)
    request = session_service_pb2.RefreshSessionRequest(refresh_token=first.refresh_token)
    answers = at_once(lambda _: port.ask("RefreshSession", request, session_pb2.SessionTokens))
    fresh = [one.refresh_token for one in answers if isinstance(one, session_pb2.SessionTokens)]
    assert fresh
    living = [
        token
        for token in fresh
        if isinstance(
            port.ask(
                "RefreshSession",
                session_service_pb2.RefreshSessionRequest(refresh_token=token),
                session_pb2.SessionTokens,
            ),
            session_pb2.SessionTokens,
        )
    ]
    # Answers that were lost are made up for within half a minute; what comes of them is one chain and one session.
    assert len(living) == 1, len(living)
    sessions = "SELECT count(*) AS n FROM sessions WHERE id = $1"
    assert found.rows(suite, "identity", sessions, first.session_id)[0]["n"] == 1
