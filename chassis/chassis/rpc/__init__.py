"""gRPC in and out: faces that services declare, the server that runs them, the clients by which services call each other."""

from chassis.rpc.call import Call
from chassis.rpc.face import Face

__all__ = ["Call", "Face"]
