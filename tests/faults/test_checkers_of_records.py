"""The checkers of records and streams find each kind of fault in what a faulty suite would leave, and none in a sound one."""

from dataclasses import replace

from proof.checkers import RecordFound, order_violations, record_faults, repeated, version_faults
from proof.found import Message

SAID = {"a-1": ("id-1", "load a-1 2", 2), "a-2": ("id-2", "load a-2 0", 1)}
FOUND = [RecordFound("id-1", "a-1", "load a-1 2", 2), RecordFound("id-2", "a-2", "load a-2 0", 1)]
TOLD = [Message("e1", "id-1", 1), Message("e2", "id-2", 1), Message("e3", "id-1", 2)]
VERSIONS = {"id-1": 2, "id-2": 1}


def test_sound_records_and_streams_have_no_faults() -> None:
    assert record_faults(SAID, FOUND) == ([], [])
    assert version_faults(VERSIONS, TOLD) == []
    assert order_violations(TOLD) == repeated(TOLD) == []


def test_a_lost_record_is_found() -> None:
    lost, doubled = record_faults(SAID, FOUND[:1])
    assert (len(lost), doubled) == (1, []) and "a-2" in lost[0]


def test_a_lost_change_is_found() -> None:
    for stale in (replace(FOUND[0], version=1), replace(FOUND[0], text="load a-1 1")):
        lost, doubled = record_faults(SAID, [stale, FOUND[1]])
        assert (len(lost), doubled) == (1, []) and "a-1" in lost[0]


def test_a_doubled_record_or_change_is_found() -> None:
    for wrong in (
        [*FOUND, replace(FOUND[0], id="id-3")],
        [replace(FOUND[0], version=3), FOUND[1]],
        [*FOUND, RecordFound("id-3", "a-3", "load a-3 0", 1)],
    ):
        lost, doubled = record_faults(SAID, wrong)
        assert (lost, len(doubled)) == ([], 1)


def test_a_change_without_event_and_an_event_without_change_are_found() -> None:
    assert len(version_faults(VERSIONS, TOLD[:2])) == 1
    assert len(version_faults(VERSIONS, [*TOLD, Message("e4", "id-2", 2)])) == 1


def test_disorder_of_a_record_and_a_second_copy_are_found() -> None:
    assert len(order_violations([TOLD[2], TOLD[0], TOLD[1]])) == 1
    assert order_violations([*TOLD, TOLD[0]]) == []  # a repeat is another fault
    assert len(repeated([*TOLD, TOLD[0]])) == 1
