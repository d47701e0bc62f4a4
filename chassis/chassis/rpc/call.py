"""What a method knows beside its request: who asks, the database, the other services."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from chassis.database import Database
from chassis.errors import Denied
from chassis.listing import PageTokens
from chassis.principal import Issuer, Principal
from chassis.rpc.clients import Clients, ask, parts
from chassis.settings import Settings

if TYPE_CHECKING:
    from chassis.rpc.face import Method

A = TypeVar("A", bound=Message)


@dataclass(frozen=True)
class Call:
    """One call, or one job. `who` is the caller; in a job, the service acting for the person who asked."""

    who: Principal
    database: Database
    clients: Clients
    page_tokens: PageTokens
    settings: Settings
    service: str
    issuer: Issuer | None = None
    token: str = ""
    """The caller's own token, for calls that are made in the caller's name."""
    method: "Method | None" = None
    beside: dict[str, str] = field(default_factory=dict[str, str])
    """What goes out beside the answer, by the names of the headers."""

    def as_service(self) -> "Call":
        """The same call with this service acting by itself for the caller.

        For work that must end even when the caller's token does; the other service must name this one in the method's rule
        of access.
        """
        return replace(self, who=self.who.acting_as(self.service), token="")

    async def ask(self, method: str, request: Message, answer: type[A], timeout: float = 5.0) -> A:
        """Calls another service's method (`kehu.customers.v1.CustomerService/CreateCustomer`) as this call's caller.

        Raises that service's Problem, Unavailable when it does not answer or is not installed.
        """
        return await ask(self.clients, self._token, "/" + method, request, answer, timeout)

    def parts(
        self, method: str, request: Message, part: type[A], timeout: float = 600.0
    ) -> AsyncGenerator[A]:
        """The parts of the answer of another service's method that gives it so, as `ask` asks. Close it in the end."""
        return parts(self.clients, self._token, "/" + method, request, part, timeout)

    def _token(self) -> str:
        if self.token:
            return self.token
        if self.issuer is None:
            raise Denied(f"'{self.service}' has no key to act by itself.", reason="NO_SERVICE_KEY")
        return self.issuer.issue(self.who, ttl=60.0)


def answer_class(method: MethodDescriptor) -> type[Any]:
    """The Python class of a method's answer."""
    return GetMessageClass(method.output_type)
