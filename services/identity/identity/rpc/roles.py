"""RoleService."""

from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from kehu.identity.v1 import role_pb2 as pb
from kehu.identity.v1 import role_service_pb2 as service_pb

from chassis.database import Transaction
from chassis.fields import Field, Kind
from chassis.ids import parse_id
from chassis.listing import Listing
from chassis.rpc import Call, Face
from identity.role import Role, change_role, create_role, delete_role
from identity.rpc.messages import ROLE, role_message, table_in

face = Face("kehu.identity.v1.RoleService")

ROLES = Listing(
    Role,
    "people",
    {
        "name": Field("name", Kind.TEXT, sortable=True),
        "builtIn": Field("built_in", Kind.BOOL),
        "createTime": Field("created_at", Kind.TIMESTAMP, sortable=True),
    },
    "name",
)
_COUNTS = (
    "SELECT r.id, count(p.id) AS people FROM unnest($1::uuid[]) AS r(id) JOIN people p ON r.id = ANY(p.role_ids)"
    " WHERE p.status = 'ACTIVE' AND p.deleted_at IS NULL GROUP BY r.id"
)


async def _counted(call: Call, messages: list[pb.Role]) -> list[pb.Role]:
    ids = [parse_id(message.id, "id") for message in messages]
    counts = {str(row["id"]): row["people"] for row in await call.database.read(call.who, _COUNTS, ids)}
    for message in messages:
        message.person_count = counts.get(message.id, 0)
    return messages


@face.read("GetRole")
async def get_role(request: service_pb.GetRoleRequest, call: Call) -> pb.Role:
    row = await ROLES.get(call, request.id)
    return (await _counted(call, [role_message(row, row["rights"])]))[0]


@face.read("ListRoles")
async def list_roles(request: service_pb.ListRolesRequest, call: Call) -> service_pb.ListRolesResponse:
    page = await ROLES.page(call, request)
    roles = await _counted(call, [role_message(row, row["rights"]) for row in page.rows])
    return service_pb.ListRolesResponse(roles=roles, next_page_token=page.next_page_token)


@face.write("CreateRole")
async def create(request: service_pb.CreateRoleRequest, tx: Transaction) -> pb.Role:
    id = parse_id(request.role_id, "roleId") if request.role_id else None
    role = await create_role(tx, ROLE.values(request.role), table_in(request.role.rights), id)
    await tx.session.flush()
    return role_message(role, role.rights)


@face.write("UpdateRole")
async def update(request: service_pb.UpdateRoleRequest, tx: Transaction) -> pb.Role:
    role = await tx.get(Role, parse_id(request.role.id, "role.id"), right="people")
    tx.check_etag(role, request.role.etag)
    paths = list(request.update_mask.paths)
    rest = [path for path in paths if path != "rights"]
    values = ROLE.values(request.role, FieldMask(paths=rest)) if rest or not paths else {}
    table = (
        table_in(request.role.rights) if "rights" in paths or (not paths and request.role.rights) else None
    )
    change_role(tx, role, values, table)
    await tx.session.flush()
    return role_message(role, role.rights)


@face.write("DeleteRole")
async def delete(request: service_pb.DeleteRoleRequest, tx: Transaction) -> Empty:
    role = await tx.get(Role, parse_id(request.id, "id"), right="people")
    tx.check_etag(role, request.etag)
    await delete_role(tx, role)
    return Empty()
