"""The compiled JSON mapping against google.protobuf.json_format, and what it says of values it refuses."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import orjson
import pytest
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    json_format,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_tools import protoc  # pyright: ignore[reportMissingTypeStubs]
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis import wire
from chassis.errors import Invalid

CONTRACT = """
syntax = "proto3";
package chassis.wiretest;
import "google/protobuf/duration.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
enum Colour { COLOUR_UNSPECIFIED = 0; COLOUR_RED = 1; COLOUR_BLUE = -7; }
message Corner {
  string text = 1; bytes raw = 2; bool flag = 3;
  int32 i32 = 4; sint64 i64 = 5; uint32 u32 = 6; fixed64 u64 = 7; double number = 8; float small_number = 9;
  Colour colour = 10; repeated Colour colours = 11;
  Corner inner = 12; repeated Corner many = 13;
  map<string, Corner> by_name = 14; map<bool, int64> by_flag = 15; map<int32, string> by_number = 16;
  map<string, Colour> named_colours = 17;
  google.protobuf.Timestamp moment = 18; google.protobuf.Duration span = 19;
  google.protobuf.StringValue maybe_text = 20; google.protobuf.Int64Value maybe_number = 21;
  google.protobuf.BoolValue maybe = 22;
  google.protobuf.DoubleValue maybe_double = 23; google.protobuf.BytesValue maybe_raw = 24;
  repeated google.protobuf.Timestamp moments = 25; repeated bytes raws = 26; repeated int64 numbers = 27;
  repeated string texts = 28;
  optional string said = 29; optional int32 count = 30;
  oneof choice { string left_side = 31; int64 right_side = 32; Corner third = 33; }
  google.protobuf.Struct free = 34; google.protobuf.Value value = 35; google.protobuf.ListValue list = 36;
  google.protobuf.FieldMask mask = 37; string named = 38 [json_name = "another"];
  google.protobuf.FloatValue maybe_float = 39; google.protobuf.UInt64Value maybe_big = 40;
  google.protobuf.NullValue nothing = 41;
}
"""


def compile_contract(folder: Path) -> type[Message]:
    (folder / "corner.proto").write_text(CONTRACT)
    out = folder / "corner.bin"
    include = Path(protoc.__file__).parent / "_proto"
    main = cast("Callable[[list[str]], int]", protoc.main)  # pyright: ignore[reportUnknownMemberType]
    command = ["", f"-I{folder}", f"-I{include}", f"--descriptor_set_out={out}", "corner.proto"]
    assert main(command) == 0
    pool = descriptor_pool.Default()
    for file in descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file:
        pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName("chassis.wiretest.Corner"))


@pytest.fixture(scope="module")
def corner(tmp_path_factory: pytest.TempPathFactory) -> type[Message]:
    return compile_contract(tmp_path_factory.mktemp("corner"))


texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=8)
moments = st.builds(
    timestamp_pb2.Timestamp,
    seconds=st.integers(-62_135_596_800, 253_402_300_799),
    nanos=st.sampled_from([0, 1, 1000, 999_999_999, 120_000_000, 5_000]),
)


def lasting(seconds: int, nanos: int) -> duration_pb2.Duration:
    return duration_pb2.Duration(seconds=seconds, nanos=nanos if seconds >= 0 else -nanos)


spans = st.builds(
    lasting,
    st.integers(-315_576_000_000, 315_576_000_000),
    st.sampled_from([0, 1, 500_000_000, 999_999_999]),
)
plain = st.recursive(
    st.none() | st.booleans() | texts | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
masks = st.lists(
    st.from_regex(r"[a-z]{1,3}(_[a-z]{1,3}){0,2}(\.[a-z]{1,3}){0,1}", fullmatch=True), max_size=3
).map(lambda paths: field_mask_pb2.FieldMask(paths=paths))


def value_of(data: Any) -> struct_pb2.Value:
    return json_format.ParseDict(data, struct_pb2.Value())


values = plain.map(value_of)


@st.composite
def corners(draw: st.DrawFn, kind: type[Message], depth: int = 2) -> Message:
    i64 = st.integers(-(2**63), 2**63 - 1)
    i32 = st.integers(-(2**31), 2**31 - 1)
    # The reference refuses its own writing of the largest 32-bit float.
    small = st.floats(width=32).filter(lambda v: not 3.4e38 < abs(v) < math.inf)
    colour = st.sampled_from([0, 1, -7, 99])
    fields: dict[str, st.SearchStrategy[Any]] = {
        "text": texts,
        "raw": st.binary(max_size=5),
        "flag": st.booleans(),
        "i32": i32,
        "i64": i64,
        "u32": st.integers(0, 2**32 - 1),
        "u64": st.integers(0, 2**64 - 1),
        "number": st.floats(),
        "small_number": small,
        "colour": colour,
        "colours": st.lists(colour, max_size=3),
        "by_flag": st.dictionaries(st.booleans(), i64),
        "by_number": st.dictionaries(i32, texts, max_size=2),
        "named_colours": st.dictionaries(texts, colour, max_size=2),
        "moment": moments,
        "span": spans,
        "maybe_text": texts.map(lambda v: wrappers_pb2.StringValue(value=v)),
        "maybe_number": i64.map(lambda v: wrappers_pb2.Int64Value(value=v)),
        "maybe": st.booleans().map(lambda v: wrappers_pb2.BoolValue(value=v)),
        "maybe_double": st.floats().map(lambda v: wrappers_pb2.DoubleValue(value=v)),
        "maybe_float": small.map(lambda v: wrappers_pb2.FloatValue(value=v)),
        "maybe_big": st.integers(0, 2**64 - 1).map(lambda v: wrappers_pb2.UInt64Value(value=v)),
        "maybe_raw": st.binary(max_size=5).map(lambda v: wrappers_pb2.BytesValue(value=v)),
        "moments": st.lists(moments, max_size=2),
        "raws": st.lists(st.binary(max_size=3), max_size=2),
        "numbers": st.lists(i64, max_size=2),
        "texts": st.lists(texts, max_size=2),
        "said": texts,
        "count": i32,
        "free": st.dictionaries(texts, plain, max_size=2).map(
            lambda v: json_format.ParseDict(v, struct_pb2.Struct())
        ),
        "value": values,
        "list": st.lists(plain, max_size=2).map(lambda v: value_of(v).list_value),
        "mask": masks,
        "named": texts,
    }
    if depth:
        inner = corners(kind, depth - 1)
        fields |= {
            "inner": inner,
            "many": st.lists(inner, max_size=2),
            "by_name": st.dictionaries(texts, inner, max_size=2),
            "third": inner,
        }
    chosen = draw(st.lists(st.sampled_from(sorted(fields)), unique=True, max_size=8))
    return kind(**{name: draw(fields[name]) for name in chosen})


@given(data=st.data())
@settings(max_examples=400)
def test_messages_read_and_write_as_the_reference_does(corner: type[Message], data: st.DataObject) -> None:
    message = data.draw(corners(corner))
    reference = json_format.MessageToDict(message)
    ours = wire.to_dict(message)
    assert ours == reference
    as_json = wire.to_json(message)
    assert orjson.loads(as_json) == reference
    theirs = json_format.ParseDict(reference, corner())
    assert repr(wire.from_dict(corner, reference)) == repr(theirs)
    assert repr(wire.from_json(corner, as_json)) == repr(theirs)


@pytest.mark.parametrize("value", [0.1, 16777216.0, 1.44442085e-08, -3.4028235e38])
def test_a_small_float_is_written_as_short_as_it_can_be(corner: type[Message], value: float) -> None:
    message = corner(small_number=value)  # pyright: ignore[reportCallIssue]
    assert wire.to_dict(message) == {"smallNumber": value}


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["1", "-5", "COLOUR_RED", "3.5s"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@given(data=st.data())
@settings(max_examples=400)
def test_any_value_in_any_field_is_taken_or_refused_by_name(
    corner: type[Message], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from([field.json_name for field in corner.DESCRIPTOR.fields]))
    value = data.draw(json_values)
    refused: Invalid | None = None
    try:
        wire.from_dict(corner, {name: value}).SerializeToString()
    except Invalid as problem:
        refused = problem
    if refused is not None:
        assert all(v.field.startswith(name) and v.description for v in refused.violations)


@pytest.mark.parametrize(
    ("document", "field", "says"),
    [
        ({"many": [{}, {"i32": "x"}]}, "many[1].i32", "whole number"),
        ({"by_name": {"a": {"flag": 1}}}, "by_name.a.flag", "true or false"),
        ({"colour": "COLOUR_GREEN"}, "colour", "COLOUR_RED"),
        ({"inner": {"nothing_here": 1}}, "inner.nothing_here", "not a field"),
        ({"moment": "2026-02-30T00:00:00Z"}, "moment", "calendar"),
        ({"moment": "0001-01-01T00:00:00+01:00"}, "moment", "years"),
        ({"moment": "yesterday"}, "moment", "2026-03-01T08:30:00Z"),
        ({"i32": 2**31}, "i32", "range"),
        ({"u64": -1}, "u64", "range"),
        ({"raw": "?"}, "raw", "base64"),
        ({"leftSide": "a", "rightSide": 1}, "rightSide", "together with leftSide"),
        ({"smallNumber": 1, "small_number": 2}, "small_number", "twice"),
        ({"text": "\ud800"}, "text", "surrogate"),
        ({"many": None, "inner": []}, "inner", "object"),
        ({"mask": "Not A Path"}, "mask", "field name"),
        ([], "body", "object"),
    ],
)
def test_a_refused_value_is_named_by_its_path(
    corner: type[Message], document: Any, field: str, says: str
) -> None:
    with pytest.raises(Invalid) as caught:
        wire.from_dict(corner, document)
    assert caught.value.violations[0].field == field
    assert says in caught.value.violations[0].description


def test_all_refused_fields_are_named_at_once(corner: type[Message]) -> None:
    with pytest.raises(Invalid) as caught:
        wire.from_json(corner, b'{"i32": "x", "flag": "y", "numbers": [1, "z", 3, []]}')
    assert [v.field for v in caught.value.violations] == ["i32", "flag", "numbers[1]", "numbers[3]"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b'{"a": "\xed\xa0\x80"}', b'{"a":1,}', b"NaN", b"[" * 3000]
)
def test_what_is_no_json_is_refused(corner: type[Message], body: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        wire.from_json(corner, body)
    assert caught.value.reason == "MALFORMED_JSON"
    assert caught.value.violations[0].field == "body"


@pytest.mark.parametrize("opening", ['{"inner":', '{"free":', '{"a":', "["])
def test_deep_nesting_is_refused(corner: type[Message], opening: str) -> None:
    closing = "}" if opening[0] == "{" else "]"
    with pytest.raises(Invalid) as caught:
        wire.from_json(corner, opening * 300 + "1" + closing * 300)
    assert "deep" in caught.value.message
    data: Any = 1
    for _ in range(40):
        data = {"a": data}
    with pytest.raises(Invalid) as caught:
        wire.from_dict(corner, {"free": data})
    assert "deep" in caught.value.message


def test_unknown_enum_numbers_pass_as_numbers(corner: type[Message]) -> None:
    message = wire.from_dict(corner, {"colour": 42})
    assert wire.to_dict(message) == {"colour": 42}


def test_what_a_newer_sender_adds_is_passed_over(corner: type[Message]) -> None:
    told = {
        "text": "a", "added": {"of": [1]}, "colour": "COLOUR_GREEN", "colours": ["COLOUR_RED", "COLOUR_GREEN"],
        "inner": {"added": 1, "i32": 2}, "many": [{"added": None, "flag": True}], "byName": {"a": {"added": 1, "text": "b"}},
        "namedColours": {"a": "COLOUR_GREEN"},
    }  # fmt: skip
    with pytest.raises(Invalid) as caught:
        wire.from_dict(corner, told)
    assert {v.field for v in caught.value.violations} >= {
        "added",
        "inner.added",
        "many[0].added",
        "colours[1]",
    }
    assert wire.to_dict(wire.from_dict(corner, told, newer=True)) == {
        "text": "a", "colours": ["COLOUR_RED", "COLOUR_UNSPECIFIED"], "inner": {"i32": 2}, "many": [{"flag": True}],
        "byName": {"a": {"text": "b"}}, "namedColours": {"a": "COLOUR_UNSPECIFIED"},
    }  # fmt: skip
    with pytest.raises(Invalid, match="i32"):
        wire.from_json(corner, b'{"i32": "x", "added": 1}', newer=True)


def test_null_means_unset_save_for_value(corner: type[Message]) -> None:
    message = wire.from_dict(corner, {"text": None, "many": None, "inner": None, "value": None})
    assert wire.to_dict(message) == {"value": None}


def test_bare_well_known_types() -> None:
    assert wire.to_json(timestamp_pb2.Timestamp(seconds=1)) == b'"1970-01-01T00:00:01Z"'
    assert wire.from_json(timestamp_pb2.Timestamp, b'"1970-01-01T01:00:01+01:00"').seconds == 1
    assert wire.to_json(empty_pb2.Empty()) == b"{}"
    assert (
        wire.from_json(struct_pb2.Struct, b'{"a": [1, null]}').fields["a"].list_value.values[0].number_value
        == 1
    )
    with pytest.raises(Invalid):
        wire.from_json(empty_pb2.Empty, b'{"a": 1}')


def test_numbers_that_are_not_finite_are_texts() -> None:
    assert wire.to_dict(wrappers_pb2.DoubleValue(value=math.inf)) == "Infinity"
    assert math.isnan(wire.from_dict(wrappers_pb2.DoubleValue, "NaN").value)
