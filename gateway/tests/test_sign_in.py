"""Who asks: tokens, keys, the cookie of browsers and what protects it, and how soon a session is dead."""

from dataclasses import replace
from typing import Any
from uuid import uuid4

import httpx
import pytest
from google.protobuf import empty_pb2
from kehu.leads.v1 import lead_pb2, lead_service_pb2
from kehu.marketing.v1 import web_form_service_pb2

from chassis.errors import Problem
from chassis.principal import GATEWAY, IDENTITY, Verifier
from gateway import sessions
from gateway.testing import House

OWN_PAGE = {"x-kehu-client": "page"}
WANTS_COOKIE = {**OWN_PAGE, "x-kehu-session": "cookie"}
CREDENTIALS = {"email": "ann@acme.example", "password": "a password of some length"}


@pytest.fixture
def leads(house: House) -> Any:
    """Somewhere to go."""
    house.on("leads.LeadService/QualifyLead", lambda r: lead_pb2.Lead(id=r.id))
    return house.on("leads.LeadService/ListLeads", lambda r: lead_service_pb2.ListLeadsResponse())


async def leads_as(house: House, headers: dict[str, str]) -> httpx.Response:
    return await house.http.get("/v1/leads", headers=headers)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer nonsense"},
        {"authorization": "Basic YTpi"},
        {"authorization": "Bearer"},
        {"authorization": "Bearer kehu_bad"},
        {"x-api-key": "kehu_bad"},
        {"cookie": "kehu_session=a.b.c.d"},
    ],
)
async def test_strangers_stay_outside(house: House, leads: Any, headers: dict[str, str]) -> None:
    answer = await leads_as(house, headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert leads.calls == []


async def test_tokens_and_keys_open(house: House, leads: Any) -> None:
    for headers in (house.bearer(), {"authorization": "Bearer kehu_good"}, {"x-api-key": "kehu_good"}):
        assert (await leads_as(house, headers)).status_code == 200
    assert {call[2].person_id for call in leads.calls} == {house.ann.person_id}


async def test_a_token_of_a_service_is_no_way_in(house: House, leads: Any) -> None:
    for audience in ("", GATEWAY):
        token = house.keys.issuer("sales").issue(house.ann.acting_as("sales"), audience=audience)
        assert (await leads_as(house, {"authorization": f"Bearer {token}"})).status_code == 401


async def test_a_token_for_services_is_no_way_in_and_one_for_people_reaches_none(
    house: House, leads: Any
) -> None:
    assert (await leads_as(house, {"authorization": f"Bearer {house.inside()}"})).status_code == 401
    sessionless = house.keys.issuer(IDENTITY).issue(replace(house.ann, session_id=None), audience=GATEWAY)
    assert (await leads_as(house, {"authorization": f"Bearer {sessionless}"})).status_code == 401
    assert (await leads_as(house, house.bearer())).status_code == 200
    with pytest.raises(Problem):  # what the services' verifiers say to what a person holds
        Verifier.from_file(house.keys.jwks).verify(house.token())


async def test_an_ended_session_opens_nothing(
    house: House, leads: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await leads_as(house, house.bearer())).status_code == 200
    house.living.clear()
    assert sessions.FRESH <= 3
    monkeypatch.setattr(sessions, "FRESH", 0.0)
    answer = await leads_as(house, house.bearer())
    assert (answer.status_code, answer.json()["reason"]) == (401, "SESSION_ENDED")


async def test_a_known_session_goes_on_while_identity_is_down(
    house: House, leads: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await leads_as(house, house.bearer())).status_code == 200
    await house.peers["identity"].stop()
    monkeypatch.setattr(sessions, "FRESH", 0.0)
    assert (await leads_as(house, house.bearer())).status_code == 200
    assert (await leads_as(house, house.bearer())).status_code == 200
    answer = await leads_as(house, {"x-api-key": "kehu_unseen"})
    assert answer.status_code == 503
    stranger = replace(house.ann, session_id=uuid4())
    assert (await leads_as(house, house.bearer(stranger))).status_code == 503


async def test_identity_is_asked_once_for_a_while(house: House, leads: Any) -> None:
    for _ in range(5):
        await leads_as(house, house.bearer())
    asked = [name for name, _, _ in house.peers["identity"].calls]
    assert asked == ["SessionService/IntrospectSession"]


async def signed_in(house: House) -> httpx.Response:
    return await house.http.post("/v1/sessions:signIn", json=CREDENTIALS, headers=WANTS_COOKIE)


async def test_a_browser_gets_a_cookie_and_no_tokens(house: House, leads: Any) -> None:
    answer = await signed_in(house)
    assert answer.status_code == 200, answer.text
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie
    assert "accessToken" not in answer.json() and "refreshToken" not in answer.json()
    assert (await leads_as(house, {})).status_code == 200
    assert leads.calls[0][2].person_id == house.ann.person_id
    request = house.peers["identity"].calls[0][1]
    assert request.client_address == "127.0.0.1"


async def test_a_program_gets_tokens_and_no_cookie(house: House) -> None:
    answer = await house.http.post("/v1/sessions:signIn", json=CREDENTIALS)
    assert answer.json()["accessToken"] and "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {**OWN_PAGE, "origin": "https://evil.example"},
        {**OWN_PAGE, "sec-fetch-site": "cross-site"},
        {**OWN_PAGE, "sec-fetch-site": "same-site"},
    ],
)
async def test_foreign_pages_cannot_use_the_cookie(house: House, leads: Any, headers: dict[str, str]) -> None:
    await signed_in(house)
    path = "/v1/leads/0198c5a2-7d2e-7c3b-9a70-3f1f0e5b6a11:qualify"
    answer = await house.http.post(path, json={}, headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (403, "FOREIGN_PAGE")
    assert leads.calls == []
    assert (await house.http.post(path, json={}, headers=OWN_PAGE)).status_code == 200


async def test_a_form_in_a_foreign_page_is_sent_by_nobody(house: House) -> None:
    await signed_in(house)
    peer = house.on(
        "marketing.WebFormService/SubmitWebForm", lambda r: web_form_service_pb2.SubmitWebFormResponse()
    )
    foreign = {"sec-fetch-site": "same-site", "origin": "https://www.example.com"}
    answer = await house.http.post("/v1/forms/pk1:submit", data={"name": "王"}, headers=foreign)
    assert answer.status_code == 200 and peer.calls[0][2] is None


async def test_an_altered_cookie_opens_nothing(house: House, leads: Any) -> None:
    value = (await signed_in(house)).cookies["kehu_session"]
    tenant, slug, session, mac = value.split(".")
    house.http.cookies.clear()
    for forged in (f"{tenant}.other.{session}.{mac}", f"{tenant}.{slug}.{session}.{mac[:-1]}x", "é", "...."):
        cookie = f"kehu_session={forged}".encode("latin-1")
        answer = await house.http.get("/v1/leads", headers={b"cookie": cookie})
        assert answer.status_code == 401
    assert leads.calls == []


async def test_signing_out_takes_the_cookie_away(house: House, leads: Any) -> None:
    await signed_in(house)

    def end(request: Any) -> Any:
        house.living.clear()
        return empty_pb2.Empty()

    house.on("identity.SessionService/SignOut", end)
    answer = await house.http.post("/v1/sessions:signOut", json={}, headers=OWN_PAGE)
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert (await leads_as(house, {})).status_code == 401


async def test_over_https_the_cookie_is_bound_to_the_host(house: House, leads: Any) -> None:
    https = {"x-forwarded-proto": "https"}
    answer = await house.http.post("/v1/sessions:signIn", json=CREDENTIALS, headers={**WANTS_COOKIE, **https})
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-kehu_session=") and "; Secure" in cookie and "Path=/;" in cookie
    value = cookie.partition("=")[2].partition(";")[0]
    house.http.cookies.clear()
    for name, status in (("__Host-kehu_session", 200), ("kehu_session", 401)):
        headers = {"cookie": f"{name}={value}", **https}
        assert (await house.http.get("/v1/leads", headers=headers)).status_code == status


async def test_signing_out_costs_nobody_else_a_question(house: House, leads: Any) -> None:
    other = replace(house.ann, person_id=uuid4(), session_id=uuid4())
    house.living.add(str(other.session_id))
    assert (await leads_as(house, house.bearer(other))).status_code == 200
    await signed_in(house)
    house.on("identity.SessionService/SignOut", lambda request: empty_pb2.Empty())
    assert (await house.http.post("/v1/sessions:signOut", json={}, headers=OWN_PAGE)).status_code == 200
    asked = [call for call in house.peers["identity"].calls if call[0] == "IntrospectSession"]
    assert (await leads_as(house, house.bearer(other))).status_code == 200
    assert [call for call in house.peers["identity"].calls if call[0] == "IntrospectSession"] == asked


async def test_a_token_of_another_tenant_reaches_services_as_that_tenant(house: House, leads: Any) -> None:
    other = replace(house.ann, tenant="other", session_id=None)
    await leads_as(house, house.bearer(other))
    assert leads.calls[0][2].tenant == "other"
