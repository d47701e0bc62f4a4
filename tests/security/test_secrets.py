"""Secrets with a mark in them are sent through everything that takes one; then all that can be read is searched for them."""

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

from chassis.validation.rules import rules_of
from gateway.contracts import load
from kehu_local.suite import Suite
from proof import found
from proof.company import World
from tests.security.conftest import Program

SHOWN_ONCE = {
    "CreateApiKeyResponse.secret", "CreatePersonResponse.one_time_password", "ResetPasswordResponse.one_time_password",
    "SessionTokens.access_token", "SessionTokens.refresh_token",
}  # fmt: skip
"""Secrets in answers to people: each is shown to the one who asked for it, when it is made."""


def spellings(secret: str) -> list[str]:
    """How a secret could stand somewhere."""
    raw = secret.encode()
    return [secret, quote(secret, safe=""), base64.b64encode(raw).decode().rstrip("="), raw.hex()]


def leaks(places: Mapping[str, str], secrets: Mapping[str, str]) -> list[str]:
    """Where a secret stands: `places` are texts by what they are, `secrets` by what they are for."""
    return [
        f"{what} in {place}"
        for place, text in places.items()
        for what, secret in secrets.items()
        if any(spelling in text for spelling in spellings(secret))
    ]


def test_a_secret_that_leaks_is_seen() -> None:
    secret = "a canary of some length"
    told = {
        "plain": f"x {secret} y",
        "encoded": f"?p={quote(secret, safe='')}",
        "basic": base64.b64encode(secret.encode()).decode(),
    }
    assert leaks({**told, "clean": "nothing"}, {"password": secret}) == [
        f"password in {place}" for place in told
    ]


def logs(suite: Suite) -> dict[str, str]:
    """What every process has written."""
    return {
        f"log {file.name}": file.read_text(errors="replace")
        for file in sorted((suite.var / "log").glob("*.log"))
    }


def rows(suite: Suite) -> dict[str, str]:
    """Every row of every table, with outboxes, histories, kept answers and dead letters."""
    texts: dict[str, str] = {}
    for domain in suite.services:
        names = "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public'"
        for table in found.rows(suite, domain, names):
            name = table["name"]
            got = found.rows(
                suite, domain, f'SELECT t::text AS row FROM "{name}" t ORDER BY 1 DESC LIMIT 20000'
            )
            texts[f"{domain}.{name}"] = "\n".join(row["row"] for row in got)
    for table in ("outbox", "idempotency"):
        column = "data" if table == "outbox" else "response"
        for domain in suite.services:
            got = found.rows(
                suite, domain, f"SELECT {column} AS bytes FROM {table} WHERE {column} IS NOT NULL"
            )
            texts[f"{domain}.{table}.{column}"] = "\n".join(
                bytes(row["bytes"]).decode("latin-1") for row in got
            )
    return texts


def answers(us: Program, person: str) -> dict[str, str]:
    """What an administrator can read of people, sessions, keys and their histories, and what anybody can."""
    paths = (
        f"/v1/people/{person}", "/v1/people?pageSize=200", "/v1/apiKeys?pageSize=200", f"/v1/sessions?personId={person}",
        "/v1/me", f"/v1/identity/changes?recordType=person&recordId={person}", "/openapi.json", "/readyz", "/livez",
    )  # fmt: skip
    return {path: us.ask("GET", path).text for path in paths}


def settings(suite: Suite) -> dict[str, str]:
    """The passwords and keys that processes are started with."""
    secrets: dict[str, str] = {}
    for part in suite.parts:
        for name, value in part.process.environment.items():
            if name.endswith("DATABASE_URL"):
                secrets[f"{part.name} {name}"] = urlsplit(value).password or ""
            elif name in ("KEHU_NATS_PASSWORD", "KEHU_PAGE_TOKEN_KEY", "KEHU_SECRET_KEYS"):
                secrets[f"{part.name} {name}"] = value
        keys = suite.keys.private(part.name).read_text().splitlines()
        secrets[f"{part.name} private key"] = keys[1]
    return {what: secret for what, secret in secrets.items() if secret}


def test_secrets_stay_where_they_belong(suite: Suite, world: World, us: Program) -> None:
    mark = uuid4().hex
    secrets = {
        name: f"canary {name} {mark}"
        for name in ("first", "chosen", "wrong", "tried", "in the query", "in json")
    }
    email = f"{uuid4().hex}@ours.example"
    body = {"email": email, "displayName": "Somebody"}
    made = us.ask("POST", "/v1/people", body, params={"initialPassword": secrets["first"]})
    assert made.status_code == 200, made.text
    person = made.json()["person"]["id"]
    secrets["one time"] = us.ask("POST", f"/v1/people/{person}:resetPassword", {}).json()["oneTimePassword"]

    def sign_in(password: str, **more: Any) -> Any:
        said = {"tenant": "ours", "email": email, "password": password, **more}
        return us.http.post("/v1/sessions:signIn", json=said)

    assert sign_in(secrets["wrong"]).status_code == 401
    assert sign_in(secrets["wrong"], unknown=secrets["in json"]).status_code == 400
    us.http.post(
        "/v1/sessions:signIn",
        content=b'{"password": "' + secrets["in json"].encode(),
        headers={"content-type": "application/json"},
    )
    signed = sign_in(secrets["one time"]).json()
    bearer = {"authorization": f"Bearer {signed['accessToken']}"}
    secrets |= {"access token": signed["accessToken"], "refresh token": signed["refreshToken"]}
    change = {"currentPassword": secrets["tried"], "newPassword": secrets["chosen"]}
    assert us.http.post("/v1/me:changePassword", json=change, headers=bearer).status_code == 400
    change["currentPassword"] = secrets["one time"]
    assert us.http.post("/v1/me:changePassword", json=change, headers=bearer).status_code == 200
    fresh = us.http.post("/v1/sessions:refresh", json={"refreshToken": signed["refreshToken"]}).json()
    secrets["fresh refresh token"] = fresh["refreshToken"]
    key = us.http.post(
        "/v1/apiKeys",
        json={"name": "canary"},
        headers={"authorization": f"Bearer {fresh['accessToken']}", "idempotency-key": mark},
    ).json()["secret"]
    secrets["API key"] = key
    for value in (secrets["in the query"], key):
        assert (
            us.http.get("/v1/customers", params={"access_token": value}, headers=us.headers).status_code
            == 400
        )
        us.http.get(
            "/v1/customers", headers={"authorization": f"Bearer {value}", "x-forwarded-for": "1.2.3.4"}
        )
    browser = {"x-kehu-client": "page", "x-kehu-session": "cookie"}
    said = {"tenant": "ours", "email": email, "password": secrets["chosen"]}
    cookie = us.http.post("/v1/sessions:signIn", json=said, headers=browser)
    assert cookie.status_code == 200, cookie.text
    secrets["cookie"] = cookie.cookies["kehu_session"]
    us.http.cookies.clear()

    assert (
        leaks({"the sign-in of a browser": cookie.text}, {k: v for k, v in secrets.items() if k != "cookie"})
        == []
    )
    assert leaks(answers(us, person), secrets) == []
    stored = rows(suite)
    assert len(stored) > 60 and any(person in text for text in stored.values())
    assert leaks(stored, secrets) == []
    written = logs(suite)
    assert len(written) >= len(suite.parts)
    assert leaks(written, {**secrets, **settings(suite)}) == []
    assert leaks(stored, settings(suite)) == []


def test_history_and_lists_know_no_secret_column(suite: Suite, world: World, us: Program) -> None:
    person = world.ids["person_id"]
    us.ask("POST", f"/v1/people/{person}:resetPassword", {})
    us.ask("PATCH", f"/v1/people/{person}", {"title": "Told"})
    history = us.ask("GET", "/v1/identity/changes", params={"recordType": "person", "recordId": person})
    assert history.status_code == 200 and "Told" in history.text
    assert "hash" not in history.text.lower() and "password_hash" not in history.text
    for path in ("/v1/people", "/v1/apiKeys"):
        for name in ("passwordHash", "password_hash", "secretHash", "secret_hash", "prefix"):
            asked = us.ask("GET", path, params={"orderBy": name})
            assert asked.status_code == 400, asked.text
            asked = us.ask("GET", path, params={"filter": f'{name} = "x"'})
            assert asked.status_code == 400, asked.text


def test_every_secret_in_an_answer_is_judged() -> None:
    """A new one is either shown once, or given to the gateway or the operator only, whom no person calls."""
    kinds: list[Any] = [method.answer.DESCRIPTOR for method in load().methods]
    secret = {
        f"{kind.name}.{field.name}" for kind in kinds for field in kind.fields if rules_of(field).secret
    }
    inside = {
        "IntrospectSessionResponse.access_token", "ExchangeApiKeyResponse.access_token", "CreateTenantResponse.one_time_password",
    }  # fmt: skip
    assert secret == SHOWN_ONCE | inside
