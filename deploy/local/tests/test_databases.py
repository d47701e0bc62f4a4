"""The roles of a service see its own database and nothing of others."""

from collections.abc import Callable

import asyncpg
import pytest

from chassis.testing import DatabaseUrls
from kehu_local import databases

MakeDatabase = Callable[..., DatabaseUrls]


@pytest.fixture(scope="module")
def leads(service_database: MakeDatabase) -> DatabaseUrls:
    return service_database("leads", empty=True)


@pytest.fixture(scope="module")
def sales(service_database: MakeDatabase) -> DatabaseUrls:
    return service_database("sales", empty=True)


async def value(url: str, sql: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def test_each_role_connects_to_its_own_database(leads: DatabaseUrls) -> None:
    for url, role in (
        (leads.owner, "kehu_leads_owner"),
        (leads.app, "kehu_leads"),
        (leads.relay, "kehu_leads_relay"),
    ):
        assert await value(url, "SELECT current_user::text") == role


async def test_no_role_connects_to_anothers_database(leads: DatabaseUrls, sales: DatabaseUrls) -> None:
    sales_database = sales.app.rpartition("/")[2]
    for url in (leads.owner, leads.app, leads.relay):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await asyncpg.connect(url.rpartition("/")[0] + "/" + sales_database)


async def test_a_wrong_password_is_refused(leads: DatabaseUrls) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(leads.app.replace("kehu_leads:", "kehu_leads:x"))


async def test_service_and_relay_are_bound_and_own_nothing(leads: DatabaseUrls) -> None:
    for url in (leads.app, leads.relay):
        connection = await asyncpg.connect(url)
        role = await connection.fetchrow("SELECT * FROM pg_roles WHERE rolname = current_user")
        assert role is not None
        assert not any(role[right] for right in ("rolsuper", "rolbypassrls", "rolcreatedb", "rolcreaterole"))
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM pg_class WHERE pg_get_userbyid(relowner) = current_user"
            )
            == 0
        )
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("CREATE TABLE mine (id int)")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("CREATE SCHEMA mine")
        await connection.close()


async def test_service_and_relay_have_limits_of_time(leads: DatabaseUrls) -> None:
    for url in (leads.app, leads.relay):
        assert await value(url, "SHOW statement_timeout") == "5s"
        assert await value(url, "SHOW lock_timeout") == "1s"
        assert await value(url, "SHOW idle_in_transaction_session_timeout") == "10s"


async def test_acknowledged_means_on_disk(leads: DatabaseUrls) -> None:
    assert await value(leads.app, "SHOW synchronous_commit") == "on"
    assert await value(leads.app, "SHOW fsync") == "on"


async def test_the_owner_makes_tables(leads: DatabaseUrls) -> None:
    connection = await asyncpg.connect(leads.owner)
    await connection.execute("CREATE TABLE things (id int)")
    await connection.close()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await value(leads.app, "SELECT count(*) FROM things")


async def test_making_a_database_again_changes_nothing(postgres_url: str, leads: DatabaseUrls) -> None:
    name = leads.app.rpartition("/")[2]
    secret = "the secret of the servers of tests"
    connection = await asyncpg.connect(postgres_url)
    await databases.lock(connection)
    await databases.make_database(connection, "leads", secret, name)
    await connection.close()
    assert await value(leads.owner, "SELECT count(*) FROM pg_class WHERE relname = 'things'") == 1


async def test_a_name_that_is_no_identifier_is_refused(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    with pytest.raises(ValueError, match="no name for a database"):
        await databases.make_database(connection, 'x"; DROP DATABASE postgres; --', "secret")
    await connection.close()


async def test_a_role_that_may_too_much_is_refused(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    await databases.lock(connection)
    await connection.execute("CREATE ROLE kehu_mighty LOGIN BYPASSRLS")
    try:
        with pytest.raises(PermissionError, match="kehu_mighty"):
            await databases.make_database(connection, "mighty", "secret")
    finally:
        for role in databases.roles("mighty"):
            await connection.execute(f"DROP ROLE IF EXISTS {role}")
        await connection.close()
