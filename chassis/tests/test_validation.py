"""The rules of contracts as checks: what passes, what is refused and by which name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import google.api  # pyright: ignore[reportMissingTypeStubs]
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_tools import protoc  # pyright: ignore[reportMissingTypeStubs]

from chassis import wire
from chassis.errors import Invalid
from chassis.validation import FieldNotWritable, check, keywords

CONTRACT = """
syntax = "proto3";
package chassis.rulestest;
import "google/api/field_behavior.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/type/date.proto";
import "google/type/money.proto";
import "kehu/rules/v1/rules.proto";
enum Shade { SHADE_UNSPECIFIED = 0; SHADE_LIGHT = 1; SHADE_DARK = 2; }
message Line {
  string label = 1 [(google.api.field_behavior) = REQUIRED];
  int32 count = 2 [(google.api.field_behavior) = REQUIRED, (kehu.rules.v1.field) = {gt: 0 lte: 99}];
}
message Thing {
  string id = 1 [(google.api.field_behavior) = OUTPUT_ONLY, (kehu.rules.v1.field) = {format: FORMAT_UUID}];
  string etag = 2;
  google.protobuf.Timestamp create_time = 3 [(google.api.field_behavior) = OUTPUT_ONLY];
  string owner_id = 4
    [(google.api.field_behavior) = IMMUTABLE, (kehu.rules.v1.field) = {format: FORMAT_UUID}];
  string name = 5
    [(google.api.field_behavior) = REQUIRED, (kehu.rules.v1.field) = {min_length: 2 max_length: 10}];
  string code = 6 [(kehu.rules.v1.field) = {pattern: "[A-Z]{3}"}];
  string email = 7 [(kehu.rules.v1.field) = {format: FORMAT_EMAIL}];
  string phone = 8 [(kehu.rules.v1.field) = {format: FORMAT_PHONE}];
  string currency = 9 [(kehu.rules.v1.field) = {format: FORMAT_CURRENCY}];
  string url = 10 [(kehu.rules.v1.field) = {format: FORMAT_URL}];
  string origin = 11 [(kehu.rules.v1.field) = {format: FORMAT_ORIGIN}];
  string rate = 12 [(kehu.rules.v1.field) = {format: FORMAT_DECIMAL gte: 0 lte: 1 max_scale: 4}];
  string slug = 13 [(kehu.rules.v1.field) = {format: FORMAT_SLUG}];
  string zone = 14 [(kehu.rules.v1.field) = {format: FORMAT_TIME_ZONE}];
  string country = 15 [(kehu.rules.v1.field) = {format: FORMAT_COUNTRY}];
  string language = 16 [(kehu.rules.v1.field) = {format: FORMAT_LANGUAGE}];
  string secret = 17 [(kehu.rules.v1.field) = {pattern: "[a-z]+" secret: true}];
  int32 score = 18 [(kehu.rules.v1.field) = {gte: -5 lt: 100}];
  double share = 19 [(kehu.rules.v1.field) = {gte: 0 lte: 1}];
  google.type.Money price = 20 [(kehu.rules.v1.field) = {gte: 0 lt: 1000.5}];
  google.type.Date day = 21;
  repeated string tags = 22 [(kehu.rules.v1.field) = {min_length: 1 max_length: 5 max_items: 3 unique: true}];
  repeated Line lines = 23 [(kehu.rules.v1.field) = {min_items: 1}];
  map<string, string> texts = 24 [(kehu.rules.v1.field) = {max_length: 4 max_items: 2}];
  map<string, Line> named = 25;
  Shade shade = 26;
  google.protobuf.Struct free = 27;
  Line line = 28;
  bytes raw = 29 [(kehu.rules.v1.field) = {max_length: 3}];
  string plain = 30;
  repeated int32 numbers = 31;
}
message CreateThingRequest {
  Thing thing = 1 [(google.api.field_behavior) = REQUIRED];
  string thing_id = 2 [(kehu.rules.v1.field) = {format: FORMAT_UUID}];
  Shade shade = 3 [(google.api.field_behavior) = REQUIRED];
}
message UpdateThingRequest {
  Thing thing = 1 [(google.api.field_behavior) = REQUIRED];
  google.protobuf.FieldMask update_mask = 2;
  string request_id = 3 [(kehu.rules.v1.field) = {max_length: 5}];
}
"""
ID = "0198c5a2-7d2e-7c3b-9a70-3f1f0e5b6a11"


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], type[Message]]:
    folder = tmp_path_factory.mktemp("rules")
    (folder / "thing.proto").write_text(CONTRACT)
    out = folder / "thing.bin"
    roots = [
        folder,
        Path(protoc.__file__).parent / "_proto",
        Path(next(iter(google.api.__path__))).parents[1],
        Path(__file__).parents[2] / "proto",
    ]
    main = cast("Callable[[list[str]], int]", protoc.main)  # pyright: ignore[reportUnknownMemberType]
    command = ["", *(f"-I{root}" for root in roots), "--include_imports", f"--descriptor_set_out={out}"]
    assert main([*command, "thing.proto"]) == 0
    pool = descriptor_pool.Default()
    for file in descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file:
        try:
            pool.FindFileByName(file.name)
        except KeyError:
            pool.AddSerializedFile(file.SerializeToString())
    return lambda name: GetMessageClass(pool.FindMessageTypeByName(f"chassis.rulestest.{name}"))


Kinds = Callable[[str], type[Message]]


def wrong_with(message: Message) -> dict[str, str]:
    try:
        check(message)
    except Invalid as problem:
        return {violation.field: violation.description for violation in problem.violations}
    return {}


def created(kinds: Kinds, **fields: Any) -> Message:
    thing = {"name": "chair", "lines": [{"label": "leg", "count": 4}], **fields}
    return wire.from_dict(kinds("CreateThingRequest"), {"thing": thing, "shade": "SHADE_DARK"})


GOOD: list[tuple[str, Any]] = [
    ("name", "ab"),
    ("name", "十个字也可以用中文写"),
    ("code", "ABC"),
    ("code", ""),
    ("email", "a.b+c@sub.example.photography"),
    ("email", "王@例子.公司"),
    ("phone", "+86 (0)10-1234.5678 x12"),
    ("phone", "010/123 4567"),
    ("currency", "CNY"),
    ("url", "https://例子.cn:8443/a?b=c#d"),
    ("origin", "http://localhost:3000"),
    ("rate", "0.1250"),
    ("rate", "1"),
    ("slug", "acme-trading-2"),
    ("zone", "Asia/Shanghai"),
    ("country", "CN"),
    ("language", "zh-Hant-TW"),
    ("score", -5),
    ("score", 99),
    ("share", 1.0),
    ("price", {"currencyCode": "CNY", "units": "1000", "nanos": 490000000}),
    ("day", {"year": 2024, "month": 2, "day": 29}),
    ("tags", ["a", "b", "c"]),
    ("texts", {"键": "ab"}),
    ("free", {"a": ["b", {"c": None}]}),
    ("raw", "YWJj"),
    ("plain", "tabs\tand\r\nlines, 𝒜 and 😀"),
    ("plain", "x" * 10_000),
    ("id", "not looked at"),
    ("ownerId", ID),
]


@pytest.mark.parametrize(("field", "value"), GOOD)
def test_good_values_pass(kinds: Kinds, field: str, value: Any) -> None:
    assert wrong_with(created(kinds, **{field: value})) == {}


BAD: list[tuple[str, Any, str, str]] = [
    ("name", "", "thing.name", "required"),
    ("name", "   ", "thing.name", "required"),
    ("name", " a ", "thing.name", "at least 2"),
    ("name", "a" * 11, "thing.name", "at most 10"),
    ("code", "abc", "thing.code", "[A-Z]{3}"),
    ("code", "ABC\n", "thing.code", "form"),
    ("email", "a@b", "thing.email", "name@example.com"),
    ("email", "a@b.c\r\nBcc: d@e.f", "thing.email", "e-mail"),
    ("email", ".a@b.cn", "thing.email", "e-mail"),
    ("email", "A <a@b.cn>", "thing.email", "e-mail"),
    ("email", "a@-b.cn", "thing.email", "e-mail"),
    ("phone", "call me", "thing.phone", "3 to 20 digits"),
    ("phone", "12", "thing.phone", "3 to 20 digits"),
    ("phone", "1" * 21, "thing.phone", "3 to 20 digits"),
    ("currency", "RMB", "thing.currency", "CNY"),
    ("url", "javascript:alert(1)", "thing.url", "web address"),
    ("url", "https://user:pass@example.com/", "thing.url", "web address"),
    ("url", "https://", "thing.url", "web address"),
    ("url", "https://[::1", "thing.url", "web address"),
    ("url", "https://a b.cn/", "thing.url", "web address"),
    ("origin", "https://example.com/", "thing.origin", "host alone"),
    ("rate", "1e3", "thing.rate", "plain notation"),
    ("rate", "0.12345", "thing.rate", "4 digits"),
    ("rate", "1.1", "thing.rate", "at most 1"),
    ("slug", "-a", "thing.slug", "inner hyphens"),
    ("zone", "Mars/Base", "thing.zone", "IANA"),
    ("country", "cn", "thing.country", "3166"),
    ("language", "chinese please", "thing.language", "BCP 47"),
    ("score", -6, "thing.score", "at least -5"),
    ("score", 100, "thing.score", "below 100"),
    ("share", "NaN", "thing.share", "nan"),
    ("share", 1.5, "thing.share", "at most 1"),
    ("price", {"currencyCode": "CNY", "units": "-1"}, "thing.price", "at least 0"),
    ("price", {"currencyCode": "CNY", "units": "1000", "nanos": 500000000}, "thing.price", "below 1,000.5"),
    ("price", {"units": "1"}, "thing.price", "currencyCode"),
    ("price", {"currencyCode": "ZZZ", "units": "1"}, "thing.price", "ZZZ"),
    ("price", {"currencyCode": "CNY", "units": "1", "nanos": -1}, "thing.price", "signs"),
    ("day", {"year": 2023, "month": 2, "day": 29}, "thing.day", "calendar"),
    ("day", {"year": 2023, "month": 2}, "thing.day", "whole day"),
    ("tags", ["a", "", "toolong"], "thing.tags[2]", "at most 5"),
    ("tags", ["a", "", "b"], "thing.tags[1]", "at least 1"),
    ("tags", ["a", "b", "a"], "thing.tags[2]", "repetition"),
    ("tags", ["a", "b", "c", "d"], "thing.tags", "at most 3"),
    ("lines", [{"label": "a", "count": 1}, {"label": "b"}], "thing.lines[1].count", "above 0"),
    ("lines", [{"count": 100}], "thing.lines[0].label", "required"),
    ("texts", {"a": "12345"}, "thing.texts.a", "at most 4"),
    ("texts", {"a\x00": "1"}, "thing.texts.a\x00", "U+0000"),
    ("texts", {"a": "", "b": "", "c": ""}, "thing.texts", "at most 2"),
    ("named", {"x": {"label": "a", "count": 100}}, "thing.named.x.count", "at most 99"),
    ("shade", 9, "thing.shade", "SHADE_LIGHT"),
    ("free", {"a": [{"b": "\x00"}]}, "thing.free", "U+0000"),
    ("raw", "YWJjZA==", "thing.raw", "at most 3"),
    ("plain", "a\x00", "thing.plain", "U+0000"),
    ("plain", "a\x1b[2J", "thing.plain", "U+001B"),
    ("plain", "x" * 10_001, "thing.plain", "at most 10,000"),
    ("numbers", [1] * 1_001, "thing.numbers", "at most 1,000"),
    ("ownerId", ID.upper(), "thing.ownerId", "lower case"),
]


@pytest.mark.parametrize(("field", "value", "path", "says"), BAD)
def test_bad_values_are_refused_by_name(kinds: Kinds, field: str, value: Any, path: str, says: str) -> None:
    found = wrong_with(created(kinds, **{field: value}))
    assert path in found
    assert says in found[path]


def test_secrets_are_not_repeated(kinds: Kinds) -> None:
    refused = "Hunter2"
    found = wrong_with(created(kinds, secret=refused))
    assert refused not in str(found)
    assert "thing.secret" in found


def test_required_messages_and_enums(kinds: Kinds) -> None:
    found = wrong_with(wire.from_dict(kinds("CreateThingRequest"), {}))
    assert found.keys() == {"thing", "shade"}


def updated(kinds: Kinds, mask: str | None, **fields: Any) -> Message:
    document: dict[str, Any] = {"thing": {"id": ID, **fields}}
    if mask is not None:
        document["updateMask"] = mask
    return wire.from_dict(kinds("UpdateThingRequest"), document)


def test_an_update_is_checked_in_the_masked_fields(kinds: Kinds) -> None:
    assert wrong_with(updated(kinds, "score", score=1, code="not looked at")) == {}
    assert wrong_with(updated(kinds, "score", score=100)).keys() == {"thing.score"}
    assert wrong_with(updated(kinds, "name")).keys() == {"thing.name"}
    assert wrong_with(updated(kinds, "code")) == {}
    assert wrong_with(updated(kinds, "line.count", line={"count": 7})) == {}
    assert wrong_with(updated(kinds, "line.count", line={"count": 0})).keys() == {"thing.line.count"}


def test_an_update_without_mask_is_checked_in_what_it_brings(kinds: Kinds) -> None:
    assert wrong_with(updated(kinds, None, score=1)) == {}
    assert wrong_with(updated(kinds, None, name="a")).keys() == {"thing.name"}
    assert wrong_with(updated(kinds, None, lines=[{"label": "a"}])).keys() == {"thing.lines[0].count"}


def test_an_update_needs_the_id_and_fields_that_exist(kinds: Kinds) -> None:
    assert wrong_with(updated(kinds, "score", id="")).keys() == {"thing.id"}
    assert wrong_with(updated(kinds, "score", id="7")).keys() == {"thing.id"}
    found = wrong_with(updated(kinds, "colour,lines.count"))
    assert found.keys() == {"updateMask"}
    message = wire.from_dict(kinds("UpdateThingRequest"), {"thing": {"id": ID}, "requestId": "123456"})
    assert wrong_with(message).keys() == {"requestId"}


@pytest.mark.parametrize("name", ["createTime", "ownerId", "id"])
def test_fields_that_only_the_service_changes_are_refused_in_masks(kinds: Kinds, name: str) -> None:
    with pytest.raises(FieldNotWritable) as caught:
        check(updated(kinds, f"score,{name}"))
    assert caught.value.reason == "FIELD_NOT_WRITABLE"
    assert name in caught.value.violations[0].description


def test_rules_as_schema_keywords(kinds: Kinds) -> None:
    fields = wire.descriptor_of(kinds("Thing")).fields_by_name
    assert keywords(fields["name"]) == ({"minLength": 2, "maxLength": 10}, {})
    assert keywords(fields["code"]) == ({"pattern": "^(?:[A-Z]{3})$"}, {})
    assert keywords(fields["score"]) == ({"minimum": -5, "exclusiveMaximum": 100}, {})
    assert keywords(fields["tags"]) == (
        {"minLength": 1, "maxLength": 5},
        {"maxItems": 3, "uniqueItems": True},
    )
    assert keywords(fields["texts"]) == ({"maxLength": 4}, {"maxProperties": 2})
    assert keywords(fields["id"]) == ({"format": "uuid"}, {})
