"""A problem travels whole, or as much of it as there is room for."""

from google.rpc import status_pb2

from chassis.errors import Invalid, Problem, Violation
from chassis.rpc.status import bounded, details

ROOM = 8 * 1024
"""Bytes of trailing metadata at which gRPC begins to end calls by itself."""


def on_the_wire(problem: Problem) -> int:
    return (
        len(details(problem)) * 4 // 3
        + sum(3 if byte > 127 else 1 for byte in problem.message.encode())
        + 200
    )


def test_what_fits_is_left_as_it_is() -> None:
    whole = Invalid.of([Violation(f"lines[{n}].name", "is required: give it a value") for n in range(20)])
    small = bounded(whole)
    assert (small.violations, small.reason, small.code) == (whole.violations, whole.reason, whole.code)
    assert small.message.startswith(whole.message[:400])


def test_many_violations_and_long_texts_fit_always() -> None:
    for field, said, many in (("f", "x" * 5_000, 50), ("名" * 900, "名" * 900, 50), ("f", "", 5_000)):
        wordy = Invalid.of([Violation(field, said)] * many)
        wordy.metadata = {f"m{n}": "名" * 500 for n in range(50)}
        small = bounded(wordy)
        assert small.violations and on_the_wire(small) < ROOM
        status = status_pb2.Status.FromString(details(small))
        assert status.message == small.message


def test_a_cut_text_stays_text() -> None:
    assert bounded(Problem("名" * 1_000)).message.endswith("名…")
