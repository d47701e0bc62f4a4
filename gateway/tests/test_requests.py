"""HTTP requests to gRPC calls and back, through a running gateway."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
from google.api import httpbody_pb2
from google.protobuf import empty_pb2
from kehu.imports.v1 import imports_pb2
from kehu.leads.v1 import lead_pb2, lead_service_pb2
from kehu.marketing.v1 import web_form_service_pb2

from chassis.errors import (
    Conflict,
    EtagMismatch,
    Exhausted,
    Invalid,
    NotFound,
    Precondition,
    Unavailable,
    Violation,
)
from gateway.problems import of_call
from gateway.testing import House

ID = "0198c5a2-7d2e-7c3b-9a70-3f1f0e5b6a11"


def problem(answer: httpx.Response, status: int, reason: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["status"], body["reason"]) == (status, reason)
    assert len(body["traceId"]) == 32 and body["detail"] and body["title"] and body["type"]
    return body


async def test_a_record_is_read_with_its_etag_and_not_sent_twice(house: House) -> None:
    peer = house.on(
        "leads.LeadService/GetLead", lambda r: lead_pb2.Lead(id=r.id, etag="7", company_name="客户")
    )
    answer = await house.http.get(f"/v1/leads/{ID}", headers=house.bearer())
    assert answer.json() == {"id": ID, "etag": "7", "companyName": "客户"}
    assert answer.headers["etag"] == '"7"'
    who = peer.calls[0][2]
    assert who is not None and who.person_id == house.ann.person_id
    again = await house.http.get(f"/v1/leads/{ID}", headers=house.bearer(**{"if-none-match": 'W/"7"'}))
    assert (again.status_code, again.content) == (304, b"")
    head = await house.http.head(f"/v1/leads/{ID}", headers=house.bearer())
    assert (head.status_code, head.content) == (200, b"")


async def test_what_is_told_beside_an_answer_is_a_header(house: House) -> None:
    told = '{"duplicates":[],"hiddenCount":1}'
    peer = house.on("leads.LeadService/CreateLead", lambda r: r.lead)
    peer.beside = (("kehu-possible-duplicates", told), ("kehu-other", "of nobody's contract"))
    house.on("leads.LeadService/GetLead", lambda r: lead_pb2.Lead(id=r.id))
    made = await house.http.post("/v1/leads", json={"name": "李娜"}, headers=house.bearer())
    assert (made.status_code, made.json(), made.headers["kehu-possible-duplicates"]) == (
        200,
        {"name": "李娜"},
        told,
    )
    assert "kehu-other" not in made.headers
    read = await house.http.get(f"/v1/leads/{ID}", headers=house.bearer())
    assert "kehu-possible-duplicates" not in read.headers


async def test_queries_fill_fields(house: House) -> None:
    peer = house.on("leads.LeadService/ListLeads", lambda r: lead_service_pb2.ListLeadsResponse())
    answer = await house.http.get(
        "/v1/leads",
        params={"pageSize": "20", "order_by": "name desc", "query": "王 &="},
        headers=house.bearer(),
    )
    assert answer.status_code == 200
    request = peer.calls[0][1]
    assert (request.page_size, request.order_by, request.query) == (20, "name desc", "王 &=")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("pageSize=many", "pageSize"),
        ("pageSize=1&pageSize=2", "pageSize"),
        ("colour=red", "colour"),
        ("query=%ff", "query"),
        ("pageSize=99999999999", "pageSize"),
        ("lead.name=x", "lead.name"),
    ],
)
async def test_queries_that_fit_no_field_are_refused_by_name(house: House, query: str, field: str) -> None:
    answer = await house.http.get(f"/v1/leads?{query}", headers=house.bearer())
    assert problem(answer, 400, "INVALID_FIELD")["violations"][0]["field"] == field


async def test_bodies_and_headers_fill_fields(house: House) -> None:
    peer = house.on("leads.LeadService/CreateLead", lambda r: r.lead)
    answer = await house.http.post(
        f"/v1/leads?leadId={ID}",
        json={"name": "Li", "tags": ["a", "b"], "estimatedAmount": {"currencyCode": "CNY", "units": "12"}},
        headers=house.bearer(**{"idempotency-key": "once"}),
    )
    assert answer.status_code == 200
    request = peer.calls[0][1]
    assert (request.lead_id, request.request_id, request.lead.name) == (ID, "once", "Li")
    assert (list(request.lead.tags), request.lead.estimated_amount.units) == (["a", "b"], 12)


async def test_a_patch_changes_the_fields_it_sends(house: House) -> None:
    peer = house.on("leads.LeadService/UpdateLead", lambda r: r.lead)
    answer = await house.http.patch(
        f"/v1/leads/{ID}",
        json={"name": "Li", "notes": "", "phone": None, "id": ID, "createTime": "2026-01-01T00:00:00Z"},
        headers=house.bearer(**{"if-match": '"7"'}),
    )
    assert answer.status_code == 200
    request = peer.calls[0][1]
    assert sorted(request.update_mask.paths) == ["name", "notes", "phone"]
    assert (request.lead.id, request.lead.etag) == (ID, "7")
    await house.http.patch(
        f"/v1/leads/{ID}?updateMask=companyName", json={"name": "x"}, headers=house.bearer()
    )
    assert list(peer.calls[1][1].update_mask.paths) == ["company_name"]


async def test_what_path_and_headers_say_cannot_be_said_otherwise(house: House) -> None:
    other = ID.replace("1", "2")
    answer = await house.http.patch(f"/v1/leads/{ID}", json={"id": other}, headers=house.bearer())
    assert problem(answer, 400, "INVALID_FIELD")["violations"][0]["field"] == "lead.id"
    answer = await house.http.post(f"/v1/leads/{ID}:qualify", json={"id": other}, headers=house.bearer())
    assert problem(answer, 400, "INVALID_FIELD")["violations"][0]["field"] == "id"
    answer = await house.http.patch(
        f"/v1/leads/{ID}", json={"etag": "6"}, headers=house.bearer(**{"if-match": '"7"'})
    )
    assert problem(answer, 400, "INVALID_FIELD")["violations"][0]["field"] == "lead.etag"
    assert house.peers["leads"].calls == []


@pytest.mark.parametrize(
    ("content", "kind", "status", "reason", "field"),
    [
        (b"{", "application/json", 400, "MALFORMED_JSON", "body"),
        (b"[]", "application/json", 400, "INVALID_FIELD", "lead"),
        (b'{"nmae": "x"}', "application/json", 400, "INVALID_FIELD", "lead.nmae"),
        (b'{"score": "x", "tags": [1]}', "application/json", 400, "INVALID_FIELD", "lead.score"),
        (b'{"name": "\xff"}', "application/json", 400, "MALFORMED_JSON", "body"),
        (b"name=x", "application/x-www-form-urlencoded", 415, "CONTENT_TYPE_UNSUPPORTED", "Content-Type"),
        (b"<a/>", "text/xml", 415, "CONTENT_TYPE_UNSUPPORTED", "Content-Type"),
        (b'{"a":' * 200 + b"1" + b"}" * 200, "application/json", 400, "INVALID_FIELD", "body"),
    ],
)
async def test_bodies_that_cannot_be_read(
    house: House, content: bytes, kind: str, status: int, reason: str, field: str
) -> None:
    answer = await house.http.post(
        "/v1/leads", content=content, headers=house.bearer(**{"content-type": kind})
    )
    assert problem(answer, status, reason)["violations"][0]["field"] == field


@pytest.mark.parametrize(
    ("raised", "status", "reason"),
    [
        (Invalid("lead.phone", "is not a number"), 400, "INVALID_FIELD"),
        (NotFound("lead", ID), 404, "NOT_FOUND"),
        (EtagMismatch(), 412, "ETAG_MISMATCH"),
        (Conflict("Somebody else converts it.", reason="LEAD_CONVERTING"), 409, "LEAD_CONVERTING"),
        (Precondition("It is converted.", reason="LEAD_CONVERTED"), 409, "LEAD_CONVERTED"),
        (Exhausted("Too many.", reason="BUSY", retry_after=2.5), 429, "BUSY"),
    ],
)
async def test_what_services_refuse_becomes_a_problem(
    house: House, raised: Exception, status: int, reason: str
) -> None:
    def refuse(request: Any) -> Any:
        raise raised

    house.on("leads.LeadService/QualifyLead", refuse)
    answer = await house.http.post(f"/v1/leads/{ID}:qualify", json={}, headers=house.bearer())
    body = problem(answer, status, reason)
    if isinstance(raised, Invalid):
        assert [Violation(**v) for v in body["violations"]] == list(raised.violations)
    if status == 429:
        assert answer.headers["retry-after"] == "3"


async def test_nothing_internal_leaks(house: House) -> None:
    def fail(request: Any) -> Any:
        raise RuntimeError("password=hunter2 at 10.0.0.7")

    house.on("leads.LeadService/QualifyLead", fail)
    answer = await house.http.post(f"/v1/leads/{ID}:qualify", json={}, headers=house.bearer())
    problem(answer, 500, "INTERNAL")
    assert "hunter2" not in answer.text


async def test_a_service_that_is_down_is_503_and_writes_are_not_repeated(house: House) -> None:
    await house.peers["leads"].stop()
    answer = await house.http.post(f"/v1/leads/{ID}:qualify", json={}, headers=house.bearer())
    problem(answer, 503, "UNAVAILABLE")
    assert int(answer.headers["retry-after"]) >= 1
    assert house.peers["leads"].address not in answer.text


def test_a_call_that_an_ending_service_has_cancelled_is_to_be_repeated() -> None:
    nothing = grpc.aio.Metadata()
    cancelled = grpc.aio.AioRpcError(grpc.StatusCode.CANCELLED, nothing, nothing, "cancelled", "")
    refusal = of_call(cancelled)
    assert (refusal.status, refusal.reason) == (503, "UNAVAILABLE")
    assert (b"retry-after", b"1") in refusal.headers()


async def test_places_that_are_not_there(house: House) -> None:
    problem(await house.http.get("/v1/nothing", headers=house.bearer()), 404, "ROUTE_UNKNOWN")
    problem(await house.http.get(f"/v1/leads/{ID}:fly", headers=house.bearer()), 404, "ROUTE_UNKNOWN")
    problem(await house.http.get("/v1/leads/%ff", headers=house.bearer()), 400, "MALFORMED_PATH")
    answer = await house.http.put("/v1/leads", headers=house.bearer(), json={})
    problem(answer, 405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    problem(await house.http.get(f"/v1/tickets/{ID}", headers=house.bearer()), 404, "MODULE_NOT_INSTALLED")
    problem(await house.http.get("/nothing"), 404, "ROUTE_UNKNOWN")


async def test_files_go_up_and_down(house: House) -> None:
    peer = house.on("leads.ImportService/CreateImport", lambda r: imports_pb2.Import(filename=r.filename))
    content = bytes(range(256)) * 8192
    answer = await house.http.post(
        "/v1/leads/imports",
        files={"file": ("线索.csv", content, "text/csv")},
        data={"recordType": "lead"},
        headers=house.bearer(),
    )
    assert answer.json() == {"filename": "线索.csv"}
    request = peer.calls[0][1]
    assert (request.content, request.record_type) == (content, "lead")
    house.on(
        "leads.ImportService/GetRefusedRows",
        lambda r: httpbody_pb2.HttpBody(content_type="text/csv; charset=utf-8", data=b"\xef\xbb\xbfrow"),
    )
    answer = await house.http.get(f"/v1/leads/imports/{ID}/refusedRows", headers=house.bearer())
    assert answer.content == b"\xef\xbb\xbfrow"
    assert answer.headers["content-disposition"] == 'attachment; filename="refusedRows.csv"'
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"--x\r\nno header", "multipart/form-data; boundary=x"),
        (b"", "multipart/form-data; boundary=x"),
        (b"--x--\r\n", "multipart/form-data"),
        (b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--\r\n", "multipart/form-data; boundary=x"),
        (
            b"--x\r\nContent-Disposition: form-data; name=colour\r\n\r\n1\r\n--x--\r\n",
            "multipart/form-data; boundary=x",
        ),
    ],
)
async def test_multipart_that_is_none(house: House, content: bytes, kind: str) -> None:
    answer = await house.http.post(
        "/v1/leads/imports", content=content, headers=house.bearer(**{"content-type": kind})
    )
    problem(answer, 400, "INVALID_FIELD")


async def test_a_posted_form_of_a_stranger(house: House) -> None:
    peer = house.on(
        "marketing.WebFormService/SubmitWebForm",
        lambda r: web_form_service_pb2.SubmitWebFormResponse(redirect_url="https://www.example.com/thanks"),
    )
    answer = await house.http.post(
        "/v1/forms/pk1:submit",
        data={"name": "王", "origin": "a friend", "kehu_website": ""},
        headers={"origin": "https://www.example.com"},
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "https://www.example.com/thanks")
    request = peer.calls[0][1]
    assert dict(request.values) == {"name": "王", "origin": "a friend"}
    assert (request.public_key, request.origin, request.client_address) == (
        "pk1", "https://www.example.com", "127.0.0.1",
    )  # fmt: skip
    answer = await house.http.post("/v1/forms/pk1:submit", json={"clientAddress": "1.2.3.4"})
    assert problem(answer, 400, "INVALID_FIELD")["violations"][0]["field"] == "clientAddress"


async def test_a_browser_that_posts_a_form_gets_pages(house: House) -> None:
    house.on(
        "marketing.WebFormService/SubmitWebForm",
        lambda r: web_form_service_pb2.SubmitWebFormResponse(thank_you_text="谢谢 <b>\nWe call you."),
    )
    browser = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8", "origin": "null"}
    answer = await house.http.post("/v1/forms/pk1:submit", data={"name": "王"}, headers=browser)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "<h1>谢谢 &lt;b&gt;</h1><p>We call you.</p>" in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    plain = await house.http.post("/v1/forms/pk1:submit", data={"name": "王"})
    assert plain.json()["thankYouText"].startswith("谢谢")

    def refuse(request: Any) -> Any:
        raise Unavailable("'leads' <does> not answer now.", retry_after=3.0)

    house.on("marketing.WebFormService/SubmitWebForm", refuse)
    answer = await house.http.post("/v1/forms/pk1:submit", data={"name": "王"}, headers=browser)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")
    assert "&#x27;leads&#x27; &lt;does&gt; not answer now." in answer.text


async def test_the_gateway_tells_where_it_is_reached(house: House) -> None:
    page = httpbody_pb2.HttpBody(content_type="text/html; charset=utf-8", data=b"<form></form>")
    peer = house.on("marketing.WebFormService/GetWebFormSnippet", lambda r: page)
    path = "/v1/forms/0198c5a2-7d2e-7c3b-9a70-3f1f0e5b6a11/snippet"
    answer = await house.http.get(path, headers=house.bearer())
    assert answer.status_code == 200 and peer.calls[0][1].gateway_url == str(house.http.base_url).rstrip("/")
    told = await house.http.get(path, params={"gatewayUrl": "https://evil.example"}, headers=house.bearer())
    assert problem(told, 400, "INVALID_FIELD")["violations"][0]["field"] == "gatewayUrl"


async def test_bodies_have_a_size_whatever_they_declare(house: House) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 65536

    kind = {"content-type": "application/json"}
    answer = await house.http.post("/v1/leads", content=chunks(), headers=house.bearer(**kind))
    problem(answer, 413, "BODY_TOO_LARGE")
    answer = await house.http.post(
        "/v1/leads", content=b" " * (1024 * 1024 + 1), headers=house.bearer(**kind)
    )
    problem(answer, 413, "BODY_TOO_LARGE")
    answer = await house.http.get("/v1/leads?query=" + "x" * 20_000, headers=house.bearer())
    problem(answer, 414, "ADDRESS_TOO_LONG")


async def test_a_read_takes_no_body(house: House) -> None:
    house.on("leads.LeadService/DeleteLead", lambda r: empty_pb2.Empty())
    answer = await house.http.request("DELETE", f"/v1/leads/{ID}", json={"a": 1}, headers=house.bearer())
    problem(answer, 400, "INVALID_FIELD")
    answer = await house.http.request("DELETE", f"/v1/leads/{ID}", json={}, headers=house.bearer())
    assert (answer.status_code, answer.json()) == (200, {})


async def test_hosts_that_are_not_ours(house: House) -> None:
    problem(await house.http.get("/v1/leads", headers={"host": "evil.example"}), 421, "HOST_UNKNOWN")
    problem(await house.http.get("/v1/leads", headers={"host": "a b"}), 400, "HOST_INVALID")
    assert (await house.http.get("/livez", headers={"host": "10.0.0.7"})).status_code == 200


async def test_traces_go_on(house: House) -> None:
    house.on("leads.LeadService/ListLeads", lambda r: lead_service_pb2.ListLeadsResponse())
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    sent = house.bearer(traceparent=f"00-{trace}-00f067aa0ba902b7-01")
    answer = await house.http.get("/v1/leads", headers=sent)
    assert answer.headers["traceparent"].split("-")[1] == trace
    answer = await house.http.get("/v1/leads", headers=house.bearer(traceparent="00-" + "0" * 52))
    assert answer.headers["traceparent"].split("-")[1] != "0" * 32


async def test_the_document_and_the_pages(house: House) -> None:
    document = (await house.http.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    assert "/v1/leads/{id}" in document["paths"]
    for path in ("/", "/docs", "/docs/assets/swagger-ui.css", "/pages/kehu.js"):
        answer = await house.http.get(path)
        assert answer.status_code == 200
        assert answer.headers["x-frame-options"] == "DENY"
    ready = (await house.http.get("/readyz")).json()
    assert ready["services"].keys() == house.peers.keys()
