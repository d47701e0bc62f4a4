"""TenantService."""

from kehu.identity.v1 import tenant_pb2 as pb
from kehu.identity.v1 import tenant_service_pb2 as service_pb

from chassis.database import Transaction, read_across
from chassis.errors import NotFound
from chassis.ids import new_id, parse_id
from chassis.rpc import Call, Face
from identity.founding import found
from identity.rpc.messages import TENANT, person_message
from identity.tenant import Tenant, TenantUpdated, described, keeper, own_tenant

face = Face("kehu.identity.v1.TenantService")


@face.read("GetTenant")
async def get_tenant(request: service_pb.GetTenantRequest, call: Call) -> pb.Tenant:
    rows = await call.database.read(call.who, "SELECT * FROM tenants WHERE id = $1", call.who.tenant_id)
    if not rows:
        raise NotFound("tenant", call.who.tenant)
    return TENANT.message(rows[0])


@face.write("UpdateTenant")
async def update(request: service_pb.UpdateTenantRequest, tx: Transaction) -> pb.Tenant:
    tenant = await own_tenant(tx)
    tx.check_etag(tenant, request.tenant.etag)
    for name, value in TENANT.values(request.tenant, request.update_mask).items():
        setattr(tenant, name, value)
    tx.record(TenantUpdated(**described(tenant)), on=tenant)
    await tx.session.flush()
    return TENANT.message(tenant)


@face.process("CreateTenant")
async def create(request: service_pb.CreateTenantRequest, call: Call) -> service_pb.CreateTenantResponse:
    id = parse_id(request.tenant_id, "tenantId") if request.tenant_id else new_id()
    values = {k: v for k, v in TENANT.values(request.tenant).items() if v}
    tenant = Tenant(id=id, **values)
    async with call.database.transaction(keeper(id, tenant.slug)) as tx:
        _, person, secret = await found(tx, tenant, request.administrator_email, request.administrator_name)
    return service_pb.CreateTenantResponse(
        tenant=TENANT.message(tenant), administrator=person_message(person), one_time_password=secret
    )


@face.read("ListTenants")
async def list_tenants(request: service_pb.ListTenantsRequest, call: Call) -> service_pb.ListTenantsResponse:
    size = request.page_size or 50
    rows = await read_across(
        call.settings.relay_database_url.get_secret_value(),
        "SELECT tenant_id, id, slug, name, currency_code, time_zone, language_code, country_code, version, created_at,"
        " created_by, updated_at, updated_by, deleted_at FROM tenants WHERE slug > $1 ORDER BY slug LIMIT $2",
        request.page_token,
        size + 1,
    )
    more = rows[size - 1]["slug"] if len(rows) > size else ""
    return service_pb.ListTenantsResponse(
        tenants=[TENANT.message(row) for row in rows[:size]], next_page_token=more
    )
