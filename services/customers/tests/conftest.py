"""The customers service under test."""

from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest_asyncio
from kehu.identity.v1 import (
    person_service_pb2,
    session_pb2,
    session_service_pb2,
    tenant_pb2,
    tenant_service_pb2,
)

from chassis.testing import DatabaseUrls, Harness, Keys, answering, running_service
from customers.service import SERVICE
from customers.testing import Company, look_up_people


def who_am_i(asked: Any) -> session_pb2.Me:
    """Somebody of whom nothing is known."""
    return session_pb2.Me()


def which_company(asked: Any) -> tenant_pb2.Tenant:
    """One that has said nothing."""
    return tenant_pb2.Tenant()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    service_database: Callable[[str], DatabaseUrls], nats_url: str, keys: Keys
) -> AsyncGenerator[Harness]:
    answers: dict[str, Any] = {
        "kehu.identity.v1.PersonService/LookUpPeople": (
            person_service_pb2.LookUpPeopleRequest,
            look_up_people,
        ),
        "kehu.identity.v1.SessionService/GetMe": (
            session_service_pb2.GetMeRequest,
            who_am_i,
        ),
        "kehu.identity.v1.TenantService/GetTenant": (
            tenant_service_pb2.GetTenantRequest,
            which_company,
        ),
    }
    async with (
        answering(answers) as identity,
        running_service(
            SERVICE, service_database("customers"), nats_url, keys, addresses={"identity": identity}
        ) as harness,
    ):
        yield harness


@pytest_asyncio.fixture(loop_scope="module")
async def company(service: Harness) -> Company:
    """A tenant that no other test knows."""
    return Company(service)
