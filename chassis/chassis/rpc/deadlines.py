"""How long a call may take, as its contract says."""

from google.protobuf.descriptor import MethodDescriptor
from kehu.rules.v1 import rules_pb2

DEFAULT_DEADLINE = 5.0
"""Seconds, for methods whose contract does not say: documented beside the option `deadline_ms` in rules.proto."""


def deadline_of(method: MethodDescriptor) -> float:
    """The most seconds a call of that method may take."""
    milliseconds = method.GetOptions().Extensions[rules_pb2.deadline_ms]
    return milliseconds / 1000 if milliseconds else DEFAULT_DEADLINE
