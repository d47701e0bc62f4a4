"""ApiKeyService."""

from kehu.identity.v1 import api_key_pb2 as pb
from kehu.identity.v1 import api_key_service_pb2 as service_pb

from chassis.database import Transaction
from chassis.fields import Field, Kind
from chassis.ids import parse_id
from chassis.listing import Listing
from chassis.mapping import to_datetime, to_timestamp
from chassis.principal import Act, Reach
from chassis.rpc import Call, Face
from identity import api_key as api_keys
from identity.api_key import ApiKey
from identity.errors import ApiKeyInvalid
from identity.rpc.messages import API_KEY
from identity.rpc.sessions import access_token
from identity.session import principal_of
from identity.tenant import find_tenant, keeper

face = Face("kehu.identity.v1.ApiKeyService")

API_KEYS = Listing(
    ApiKey,
    None,
    {
        "name": Field("name", Kind.TEXT, sortable=True),
        "personId": Field("person_id", Kind.UUID),
        "revokeTime": Field("revoke_time", Kind.TIMESTAMP, nullable=True),
        "lastUseTime": Field("last_use_time", Kind.TIMESTAMP, sortable=True, nullable=True),
        "createTime": Field("created_at", Kind.TIMESTAMP, sortable=True),
    },
)


@face.write("CreateApiKey")
async def create(request: service_pb.CreateApiKeyRequest, tx: Transaction) -> service_pb.CreateApiKeyResponse:
    wanted = request.api_key
    key, secret = await api_keys.create_api_key(
        tx,
        wanted.name,
        parse_id(wanted.person_id, "apiKey.personId") if wanted.person_id else None,
        to_datetime(wanted.expire_time) if wanted.HasField("expire_time") else None,
        parse_id(request.api_key_id, "apiKeyId") if request.api_key_id else None,
    )
    await tx.session.flush()
    return service_pb.CreateApiKeyResponse(api_key=API_KEY.message(key), secret=secret)


@face.read("ListApiKeys")
async def list_keys(request: service_pb.ListApiKeysRequest, call: Call) -> service_pb.ListApiKeysResponse:
    everyone = call.who.reach("people", Act.READ) is not Reach.NONE
    page = await API_KEYS.page(call, request, None if everyone else {"personId": call.who.person_id})
    return service_pb.ListApiKeysResponse(
        api_keys=[API_KEY.message(row) for row in page.rows], next_page_token=page.next_page_token
    )


@face.write("RevokeApiKey")
async def revoke(request: service_pb.RevokeApiKeyRequest, tx: Transaction) -> pb.ApiKey:
    key = await api_keys.revoke_api_key(tx, parse_id(request.id, "id"))
    tx.check_etag(key, request.etag)
    await tx.session.flush()
    return API_KEY.message(key)


@face.read("ExchangeApiKey")
async def exchange(
    request: service_pb.ExchangeApiKeyRequest, call: Call
) -> service_pb.ExchangeApiKeyResponse:
    slug = api_keys.tenant_in(request.api_key)
    tenant = await find_tenant(call.settings.relay_database_url.get_secret_value(), slug)
    if tenant is None:
        raise ApiKeyInvalid
    who = keeper(*tenant)
    key_id, person_id = await api_keys.person_behind(call.database, who, request.api_key)
    person = await principal_of(call.database, who, person_id, None)
    if person is None:
        raise ApiKeyInvalid
    token, until = access_token(call, person)
    answer = service_pb.ExchangeApiKeyResponse(
        access_token=token, api_key_id=str(key_id), person_id=str(person_id), tenant_id=str(person.tenant_id)
    )
    to_timestamp(answer.access_token_expire_time, until)
    return answer
