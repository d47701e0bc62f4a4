"""What a preview of a merge says of the fields."""

from kehu.merges.v1 import merges_pb2 as pb

from chassis.merge_preview import merged_fields


def test_no_and_nought_of_custom_fields_are_values_that_may_be_lost() -> None:
    kept = {"id": "1", "name": "A", "customFields": {"vip": True, "seats": 4, "note": "x"}}
    gone = {"id": "2", "name": "", "customFields": {"vip": False, "seats": 0, "note": ""}}
    found = {field.field: field for field in merged_fields(["name"], [kept, gone], kept)}

    def lost(name: str) -> list[pb.LostValue]:
        return list(found[f"customFields.{name}"].lost)

    assert [(one.record_id, one.value.bool_value) for one in lost("vip")] == [("2", False)]
    assert [(one.record_id, one.value.number_value) for one in lost("seats")] == [("2", 0)]
    assert not lost("note") and not found["name"].lost
