"""Who may do what: every method of the contracts, by every kind of caller, in the caller's own company and in another.

What must come out is worked out here from the rule of access in the contract and from whether the contract's record has an
owner. Nothing of the services' own evaluation is asked. Two ways lead in, and both are tried: the route through the gateway,
and the service's own port.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from uuid import UUID, uuid4

import grpc
from kehu.rules.v1 import rules_pb2

from chassis.principal import IDENTITY, NO_RIGHTS, Act, Issuer, Principal, Reach, Rights
from chassis.validation.rules import IMMUTABLE, behaviors, rules_of
from gateway.contracts import Method, load
from gateway.routes import Route, routes
from kehu_local.suite import Suite
from proof.company import MARK, Rows, World, changing, claims_of, imported, pair_of, record_for
from proof.requests import body_of, request_of

METHODS = load().methods
ROUTES: Mapping[str, Route] = {route.method.path: route for route in routes(load())}
RESOURCES = tuple(sorted({method.access.right for method in METHODS if method.access.right}))
STALE = "999999"
"""An etag that no record has: what a caller may change is then refused for that, and stays."""


class Outcome(Enum):
    """What must come of a call."""

    STRANGER = "401"
    DENIED = "403"
    HIDDEN = "404: the caller may not know that it is there"
    BARRED = "403 or 404: the caller may see it and not change it"
    EMPTY = "an answer in which nothing stands of what the caller may not read"
    FOREIGN = "whatever the caller's own company has, and nothing of the other"
    REACHED = "done, or refused for the state of the record"
    ALLOWED = "no refusal for lack of rights"
    PARTLY = "done, and nothing in the answer of what the caller may not read"
    PUBLIC = "an answer to what a stranger sends, and no fault"


REFUSALS = frozenset({Outcome.STRANGER, Outcome.DENIED, Outcome.HIDDEN, Outcome.BARRED})
HARMLESS = REFUSALS | {Outcome.EMPTY, Outcome.PUBLIC}
"""Outcomes that change no row."""


class Owned(Enum):
    """By what a right's reach is measured."""

    NOBODY = "records of this kind have no owner: any reach reads or writes all"
    OWNER = "owner and team of the record"
    MAKER = "imports and bulk edits: one's own, and those of others with the write reach ALL"


@dataclass(frozen=True)
class Actor:
    """A kind of caller. `rights` are given alike on all resources but those without owner, which are only read."""

    name: str
    read: Reach = Reach.NONE
    write: Reach = Reach.NONE
    everything: bool = False
    """An administrator: writes what nobody owns, too."""
    inside: bool = False
    """Whether the records' owner is in the caller's team."""
    abroad: bool = False
    """Whether the records are another company's."""
    stranger: bool = False

    def right(self, resource: str) -> Rights:
        """What the caller has on that resource."""
        if self.everything:
            return Rights(Reach.ALL, Reach.ALL)
        if resource in UNOWNED:
            return Rights(self.read, Reach.NONE)
        return Rights(self.read, self.write)

    def reach(self, resource: str, act: Act) -> Reach:
        """How far that goes."""
        right = self.right(resource)
        return right.read if act is Act.READ else right.write


ACTORS = (
    Actor("no sign-in", stranger=True),
    Actor("no rights"),
    Actor("reads their own", read=Reach.OWN),
    Actor("reads another team's", read=Reach.TEAM),
    Actor("reads their team's", read=Reach.TEAM, inside=True),
    Actor("reads all", read=Reach.ALL),
    Actor("reads all, writes their own", read=Reach.ALL, write=Reach.OWN),
    Actor("reads all, writes another team's", read=Reach.ALL, write=Reach.TEAM),
    Actor("administrator", everything=True),
    Actor("another company's administrator", everything=True, abroad=True),
)
"""Kehu has no right to delete of its own: deleting is writing, so who writes their own may not delete what is others'."""


def _resource_owned(service: str) -> bool:
    """Whether the contract gives the records of a service an owner."""
    reads = [m for m in METHODS if m.service == service and m.name.startswith("Get")]
    return any("owner_id" in m.answer.DESCRIPTOR.fields_by_name for m in reads)


def owned(method: Method) -> Owned:
    """By what the reach of a method's right is measured, as the contract has it."""
    if method.access.right == "settings":
        return Owned.NOBODY  # they are the company's, whatever record a change of them is about
    match method.service.rpartition(".")[2]:
        case "BulkEditService" if method.name == "PreviewBulkEdit":
            # It looks at the records themselves, and those of sales have no owner.
            return Owned.NOBODY if method.domain == "sales" else Owned.OWNER
        case "ImportService" | "BulkEditService":
            return Owned.MAKER
        case "ReportService" if method.name != "GetFreshness":
            return Owned.OWNER
        case "DuplicateSweepService":
            return Owned.NOBODY  # whoever reads records of that kind sees how far a sweep of all of them is
        case (
            "CustomerFacetService"
            | "CustomerValueService"
            | "PointsService"
            | "RelationService"
            | "DuplicateService"
            | "DuplicatePairService"
            | "TrashService"
            | "ShareService"
            | "PoolService"
            | "TransferService"
            | "ContactViewService"
        ):
            return Owned.OWNER  # the record's, or those of both records
        case "SearchService":
            return Owned.NOBODY if method.domain == "identity" else Owned.OWNER
        case "NoteService" | "AttachmentService":
            return Owned.OWNER  # the record's that they are on
        case "ExportService":
            return Owned.OWNER  # the records' that are exported, and who exported them
        case "HistoryService":
            kind = changing(method.domain).capitalize()
            record = next(m for m in METHODS if m.domain == method.domain and m.name == f"Get{kind}")
            return owned(record)
        case _:
            return Owned.OWNER if _resource_owned(method.service) else Owned.NOBODY


UNOWNED = frozenset(
    right
    for right in RESOURCES
    if not any(owned(m) is Owned.OWNER for m in METHODS if m.access.right == right)
)
"""Resources whose records nobody owns, as the contracts have it."""


OF_ONE_RECORD = frozenset({"ListChanges", "ListNotes", "ListAttachments"})
"""Lists of what belongs to one record, which is named in the query."""


def names_record(method: Method) -> bool:
    """Whether a call is about one record that the world has, rather than about a list or something new."""
    route = ROUTES.get(method.path)
    if route is None:
        return False
    return "{" in route.template.text or method.name in OF_ONE_RECORD


def _act(method: Method) -> Act:
    return Act.READ if method.access.act == rules_pb2.ACT_READ else Act.WRITE


def _with_people(act: Act, otherwise: Outcome) -> Callable[[Actor], Outcome]:
    def decide(actor: Actor) -> Outcome:
        return Outcome.REACHED if actor.reach("people", act) is not Reach.NONE else otherwise

    return decide


def _anybody(actor: Actor) -> Outcome:
    return Outcome.ALLOWED


def _with_view(domain: str, name: str) -> Callable[[Actor], Outcome]:
    """The world's view is its owner's and shared with everyone: whoever may read such records sees it, and whoever may write all
    of them changes it."""
    right = f"{changing(domain)}s"

    def decide(actor: Actor) -> Outcome:
        if actor.reach(right, Act.READ) is Reach.NONE:
            return {"CreateSavedView": Outcome.DENIED, "ListSavedViews": Outcome.EMPTY}.get(
                name, Outcome.HIDDEN
            )
        own = name not in ("UpdateSavedView", "DeleteSavedView")
        return Outcome.REACHED if own or actor.reach(right, Act.WRITE) is Reach.ALL else Outcome.BARRED

    return decide


def _own_inbox(outcome: Outcome) -> Callable[[Actor], Outcome]:
    """An inbox is its person's: none of the callers is that person, and no right opens it."""
    return lambda actor: outcome


SIGNED_IN: Mapping[str, Callable[[Actor], Outcome]] = {
    "kehu.identity.v1.ApiKeyService.CreateApiKey": _with_people(Act.WRITE, Outcome.DENIED),
    "kehu.identity.v1.ApiKeyService.ListApiKeys": _with_people(Act.READ, Outcome.EMPTY),
    "kehu.identity.v1.ApiKeyService.RevokeApiKey": _with_people(Act.WRITE, Outcome.HIDDEN),
    "kehu.identity.v1.PersonService.LookUpPeople": _anybody,
    "kehu.identity.v1.SessionService.ChangePassword": _anybody,
    "kehu.identity.v1.SessionService.GetMe": _anybody,
    "kehu.identity.v1.SessionService.ListSessions": _anybody,
    "kehu.identity.v1.SessionService.RevokeSession": _with_people(Act.WRITE, Outcome.HIDDEN),
    "kehu.identity.v1.SessionService.SignOut": _anybody,
    "kehu.identity.v1.TeamService.GetTeam": _with_people(Act.READ, Outcome.REACHED),
    "kehu.identity.v1.TeamService.ListTeams": _anybody,
    "kehu.identity.v1.TenantService.GetTenant": _anybody,
    **{
        f"kehu.{domain}.v1.CustomFieldService.{name}": _anybody
        for domain in ("customers", "leads", "sales", "marketing", "servicedesk")
        for name in ("GetCustomField", "ListCustomFields")
    },
    **{
        f"kehu.{domain}.v1.SavedViewService.{name}": _with_view(domain, name)
        for domain in ("customers", "leads", "sales", "servicedesk")
        for name in (
            "GetSavedView", "ListSavedViews", "CreateSavedView", "UpdateSavedView", "DeleteSavedView", "CountSavedView",
            "MakeDefaultSavedView", "ClearDefaultSavedView",
        )
    },
    "kehu.customers.v1.ValueListService.GetValueList": _anybody,
    "kehu.customers.v1.ValueListService.ListValueLists": _anybody,
    "kehu.leads.v1.ValueListService.GetValueList": _anybody,
    "kehu.leads.v1.ValueListService.ListValueLists": _anybody,
    **{
        f"kehu.{domain}.v1.ExportService.ListExportColumns": _anybody
        for domain in ("customers", "leads", "sales", "marketing", "servicedesk")
    },
    **{
        f"kehu.notifications.v1.NotificationService.{name}": _own_inbox(Outcome.HIDDEN)
        for name in ("GetNotification", "MarkRead", "MarkUnread", "ArchiveNotification", "UnarchiveNotification")
    },
    **{
        f"kehu.notifications.v1.NotificationService.{name}": _own_inbox(Outcome.EMPTY)
        for name in ("ListNotifications", "CountUnread", "GetNotificationPreferences")
    },
    "kehu.notifications.v1.NotificationService.MarkAllRead": _anybody,
    "kehu.notifications.v1.NotificationService.UpdateNotificationPreferences": _anybody,
}  # fmt: skip
"""Methods that anybody signed in may call, with what their comments say of records that are others'."""

RIGHTS_BY_TYPE = {
    "kehu.sales.v1.HistoryService": "orders",
    "kehu.sales.v1.ImportService": "products",
    "kehu.sales.v1.BulkEditService": "products",
    "kehu.customers.v1.SearchService": "customers",
    "kehu.identity.v1.SearchService": "people",
    "kehu.leads.v1.SearchService": "leads",
    "kehu.sales.v1.SearchService": "orders",
    "kehu.servicedesk.v1.SearchService": "tickets",
    "kehu.sales.v1.NoteService": "orders",
    "kehu.sales.v1.AttachmentService": "orders",
}
"""Services whose methods anybody signed in may call, since the right depends on the record type; here on that of the world."""


def expected(method: Method, actor: Actor) -> Outcome:
    """What must come of that caller's call. Raises KeyError for a method that this table does not know how to judge."""
    access = method.access
    if access.public:
        return Outcome.PUBLIC
    if actor.stranger:
        return Outcome.STRANGER
    right = access.right or RIGHTS_BY_TYPE.get(method.service, "")
    if access.signed_in and not right:
        if actor.abroad:
            return Outcome.HIDDEN if names_record(method) else Outcome.FOREIGN
        return SIGNED_IN[method.full_name](actor)
    if not right:
        return Outcome.DENIED
    if actor.abroad:
        return Outcome.HIDDEN if names_record(method) else Outcome.FOREIGN
    act = _act(method)
    reach = actor.reach(right, act)
    if reach is Reach.NONE:
        # Where the method itself asks for the right, a record that may not be read is not there.
        return _without_right(method) if access.signed_in else Outcome.DENIED
    return _within(method, actor, reach, actor.reach(right, Act.READ), actor.reach(right, Act.WRITE))


def _without_right(method: Method) -> Outcome:
    if method.reads and not names_record(method):
        return Outcome.EMPTY
    return Outcome.BARRED


def _within(method: Method, actor: Actor, reach: Reach, read: Reach, write: Reach) -> Outcome:
    """The outcome for somebody who has the right at some reach."""
    kind = owned(method)
    if kind is Owned.NOBODY or (kind is Owned.OWNER and _covers(reach, actor)):
        return Outcome.REACHED
    if kind is Owned.MAKER:
        if write is Reach.ALL:
            return Outcome.REACHED
        return Outcome.HIDDEN if names_record(method) else Outcome.EMPTY if method.reads else Outcome.ALLOWED
    if not names_record(method):
        if method.streams:
            return Outcome.PARTLY
        return Outcome.EMPTY if method.reads else Outcome.ALLOWED
    return Outcome.BARRED if _covers(read, actor) else Outcome.HIDDEN


def _covers(reach: Reach, actor: Actor) -> bool:
    """Whether that reach covers the records of the company's administrator."""
    return reach is Reach.ALL or (reach is Reach.TEAM and actor.inside)


# ---- callers and calls


@dataclass
class Caller:
    """Somebody who is such an actor."""

    actor: Actor
    headers: dict[str, str]
    principal: Principal | None


@dataclass
class Cast:
    """A caller of each kind. They come with API keys, which outlive any number of calls."""

    suite: Suite
    world: World
    callers: list[Caller]
    http: Any
    channels: dict[str, Any] = field(default_factory=dict[str, Any])

    def close(self) -> None:
        """Ends the channels."""
        for channel in self.channels.values():
            channel.close()


def cast(suite: Suite, world: World, rival: Any) -> Cast:
    """Makes a person of each kind in the company, with an API key. `rival` is another company's administrator."""
    owner = world.owner.sign_in()
    http = owner.http
    claims = claims_of(owner)
    home = owner.get("/v1/me")["person"]["teamId"]
    callers: list[Caller] = []
    for number, actor in enumerate(ACTORS):
        if actor.stranger:
            callers.append(Caller(actor, {}, None))
            continue
        if actor.abroad:
            key = rival.sign_in().post("/v1/apiKeys", {"name": actor.name})["secret"]
            theirs = claims_of(rival)
            principal = _principal(actor, theirs["tid"], theirs["ten"], theirs["sub"], theirs.get("team"))
            callers.append(Caller(actor, {"x-api-key": key}, principal))
            continue
        team = home if actor.inside else owner.post("/v1/teams", {"name": f"Team {number}"})["id"]
        role = owner.post("/v1/roles", {"name": actor.name, "rights": _rights(actor)})["id"]
        email = f"actor{number}@ours.example"
        body = {"email": email, "displayName": f"Actor {number}", "teamId": team, "roleIds": [role]}
        person = owner.post("/v1/people", body)["person"]["id"]
        key = owner.post("/v1/apiKeys", {"name": f"Actor {number}", "personId": person})["secret"]
        principal = _principal(actor, claims["tid"], claims["ten"], person, team)
        callers.append(Caller(actor, {"x-api-key": key}, principal))
    channels = {d: grpc.insecure_channel(part.address) for d, part in suite.services.items()}
    return Cast(suite, world, callers, http, channels)


def _rights(actor: Actor) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for resource in RESOURCES:
        right = actor.right(resource)
        if right != NO_RIGHTS:
            found.append({
                "resource": f"RIGHT_RESOURCE_{resource.upper()}",
                **({"read": f"REACH_{right.read.name}"} if right.read else {}),
                **({"write": f"REACH_{right.write.name}"} if right.write else {}),
            })  # fmt: skip
    return found


def _principal(actor: Actor, tenant_id: str, tenant: str, person: str, team: str | None) -> Principal:
    teams = frozenset({UUID(team)}) if team else frozenset[UUID]()
    return Principal(
        tenant_id=UUID(tenant_id), tenant=tenant, person_id=UUID(person), name=actor.name,
        team_id=UUID(team) if team else None, team_ids=teams,
        rights={resource: actor.right(resource) for resource in RESOURCES},
    )  # fmt: skip


@dataclass(frozen=True)
class Said:
    """What was answered: an HTTP status, whichever way was taken, and all bytes of the answer."""

    status: int
    body: bytes
    asked: bytes


_EDITED = {"customer": "notes", "lead": "notes", "product": "description"}
"""A field by record type."""


def request_for(method: Method, world: World, caller: Caller) -> Any:
    """A request of that method about the world's record, such that nothing but a lack of rights can stand in its way: what is
    given away is given to the caller, and of a record nothing is changed that names another."""
    request: Any = request_of(method, world.ids, _record(method, world))
    fields = request.DESCRIPTOR.fields_by_name
    if "record_type" in fields:
        importing = method.name in ("CreateImport", "PreviewBulkEdit", "CreateBulkEdit")
        request.record_type = imported(method.domain) if importing else changing(method.domain)
    if method.name == "CreateExport":
        # How the company calls its own fields everybody there may read; what stands in them is the question.
        names = {
            "lead": "name", "customer": "displayName", "order": "notes", "campaign": "name", "ticket": "subject",
        }  # fmt: skip
        request.columns.append(names[request.record_type])
    if method.name == "CreateNote":
        kind = changing(method.domain)
        request.note.record_type, request.note.record_id = kind, world.ids[f"{kind}_id"]
    if method.name == "CreateAttachment":
        request.filename, request.content, request.complete = "else.txt", b"Somebody", True
    if "owner_id" in fields and caller.principal is not None:
        request.owner_id = str(caller.principal.person_id)
    if "etag" in fields:
        request.etag = STALE
    if method.name in ("ShareCustomer", "UnshareCustomer") and caller.principal is not None:
        request.person_id = str(caller.principal.person_id)
    if method.name == "TransferCustomers":
        request.ids.append(world.ids["customer_id"])
        request.validate_only = True  # whoever may give it away would take it from those who come behind
    if method.service == "kehu.customers.v1.PrivacyService" and "record_type" in fields:
        request.record_type, request.record_id = "contact", world.ids["contact_id"]
    if method.name == "CreateErasure":
        # Who may is told that a company is no person: nobody is to be gone for those who come after.
        request.erasure.record_type, request.erasure.record_id = "customer", world.ids["customer_id"]
    if method.name == "CreatePartner":
        request.partner.type = "supplier"  # a value of the list
    if method.name == "CreateAbsence":
        request.absence.until_time.seconds += 3600  # it ends after it begins
    if method.name == "CreateCampaignMember":
        request.campaign_member.lead_id = (
            ""  # a member is a lead or a customer, and the customer is the more telling one
        )
    if method.name in ("PreviewBulkEdit", "CreateBulkEdit"):
        # Looked at are all records; what is started finds none to change.
        request.filter = f"createTime {'>' if method.name == 'PreviewBulkEdit' else '<'} 2001-01-01"
        request.change.values.struct_value.update({_EDITED[request.record_type]: "changed"})
    if method.name == "CreateSavedView":
        request.saved_view.record_type = changing(method.domain)
        request.saved_view.display_name = f"{caller.actor.name} {uuid4()}"  # nobody has two views of one name
    if method.name in ("MergeContacts", "PreviewMergeContacts"):
        request.merged_ids[:] = [world.ids["merged_contact_id"]]
    if method.name in ("MergeLeads", "PreviewMergeLeads"):
        request.merged_ids[:] = [world.ids["merged_lead_id"]]
    if method.name == "CleanLeads":
        for step in request.steps:
            step.lead_id, step.etag = world.ids["lead_id"], STALE
    if method.name == "SetAsideDuplicatePair":
        request.record_ids[:] = pair_of(world, method.domain)
    if method.name == "FindLeadDuplicates":
        request.lead_id = ""  # of one that is to be created: looked at are all that are there
    if method.name in ("CreateLead", "CaptureLead"):
        request.lead.name = "Somebody"
    if method.name.startswith("Update"):
        _only_changes(getattr(request, request.DESCRIPTOR.fields[0].name))
    return request


def _record(method: Method, world: World) -> str:
    route = ROUTES.get(method.path)
    if route is not None and "{" in route.template.text and not method.access.public:
        return world.record_of(route.template.text.partition("{")[0])
    return record_for(world, method.service, method.domain)


def _only_changes(resource: Any) -> None:
    for part in resource.DESCRIPTOR.fields:
        names_another = part.name != "id" and rules_of(part).format == rules_pb2.FORMAT_UUID
        if names_another or IMMUTABLE in behaviors(part):
            resource.ClearField(part.name)
    if "etag" in resource.DESCRIPTOR.fields_by_name:
        resource.etag = STALE


def by_route(cast: Cast, method: Method, caller: Caller) -> Said:
    """The call through the gateway."""
    route = ROUTES[method.path]
    request = request_for(method, cast.world, caller)
    sent: dict[str, Any] = {}
    if route.is_upload:
        sent = {
            "data": {"recordType": request.record_type}
            | ({"recordId": request.record_id} if method.takes_parts else {}),
            "files": {"file": (request.filename, request.content, "text/csv")},
        }
    elif route.binding.body:
        sent = {"json": body_of(route, request)}
    elif method.name in OF_ONE_RECORD:
        sent = {"params": {"recordType": request.record_type, "recordId": request.record_id}}
    elif method.name == "ListCustomersByContact":
        sent = {"params": {"view": "CONTACT_VIEW_NOT_CONTACTED_LAST_WEEK"}}
    elif "etag" in request.DESCRIPTOR.fields_by_name:
        sent = {"headers": {"if-match": f'"{STALE}"'}}
    headers = {**caller.headers, **sent.pop("headers", {})}
    path = _path(route, cast.world)
    answer = cast.http.request(route.http_method, path, headers=headers, **sent)
    return Said(answer.status_code, answer.content, f"{path} {sent}".encode())


def _path(route: Route, world: World) -> str:
    text = route.template.text
    if "{" not in text:
        return text
    prefix, _, rest = text.partition("{")
    return prefix + world.record_of(prefix) + rest.partition("}")[2]


def by_port(cast: Cast, method: Method, caller: Caller) -> Said:
    """The call on the service's own port, past the gateway, with a token that identity would sign for that caller."""
    request = request_for(method, cast.world, caller)
    channel = cast.channels[method.domain]
    make = channel.unary_stream if method.streams else channel.unary_unary
    if method.takes_parts:
        make = channel.stream_unary
    call = make(method.path, request_serializer=method.request.SerializeToString)
    metadata: list[tuple[str, str]] = []
    if caller.principal is not None:
        issuer = Issuer.from_file(IDENTITY, cast.suite.keys.private(IDENTITY))
        metadata = [("authorization", f"Bearer {issuer.issue(caller.principal)}")]
    asked = request.SerializeToString()
    try:
        sent = iter([request]) if method.takes_parts else request
        said = call(sent, metadata=metadata, timeout=20, wait_for_ready=True)
        return Said(200, b"".join(said) if method.streams else said, asked)
    except grpc.RpcError as error:
        failed: Any = error
        return Said(_STATUS[failed.code()], str(failed.details()).encode(), asked)


_C = grpc.StatusCode
_STATUS = {
    _C.INVALID_ARGUMENT: 400, _C.UNAUTHENTICATED: 401, _C.PERMISSION_DENIED: 403, _C.NOT_FOUND: 404, _C.ALREADY_EXISTS: 409,
    _C.ABORTED: 409, _C.FAILED_PRECONDITION: 409, _C.RESOURCE_EXHAUSTED: 429, _C.UNAVAILABLE: 503, _C.DEADLINE_EXCEEDED: 504,
    _C.INTERNAL: 500, _C.UNKNOWN: 500, _C.UNIMPLEMENTED: 501,
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One method, one caller, one way in."""

    method: Method
    caller: Caller
    way: Callable[[Cast, Method, Caller], Said]
    outcome: Outcome

    def __str__(self) -> str:
        way = "port" if self.way is by_port else "route"
        return f"{self.method.service.split('.')[1]} {self.method.name} by {way}, {self.caller.actor.name}"


def cells(method: Method, callers: Iterable[Caller]) -> Iterator[Cell]:
    """All cells of a method: through the gateway where it has a route, and on the service's port."""
    for caller in callers:
        outcome = expected(method, caller.actor)
        if method.path in ROUTES:
            yield Cell(method, caller, by_route, outcome)
        yield Cell(method, caller, by_port, outcome)


_HIDING = frozenset({Outcome.EMPTY, Outcome.FOREIGN, Outcome.PARTLY, Outcome.PUBLIC})


def faults(cell: Cell, said: Said, world: World) -> list[str]:
    """What is wrong with an answer. A leak is anything of the company in an answer that must not have it."""
    found: list[str] = []
    status = said.status
    if status >= 500:
        found.append(f"{status}: a fault of ours")
    elif not _fits(cell.outcome, status):
        found.append(f"{status} where it must be {cell.outcome.value}")
    hides = cell.outcome in REFUSALS or cell.outcome in _HIDING
    if hides and world.betrayed_by(said.body, said.asked):
        found.append("leak: the answer tells of what the caller may not read")
    positive = cell.outcome is Outcome.REACHED and cell.method.reads and status == 200
    if positive and cell.method.name.startswith("Get") and names_record(cell.method):
        known = MARK.encode() in said.body or any(id.encode() in said.body for id in world.ids.values())
        if not known:
            found.append("the answer holds nothing of the record: the attack on it would prove nothing")
    return [f"{cell}: {fault}: {said.body[:200]!r}" for fault in found]


def _fits(outcome: Outcome, status: int) -> bool:
    match outcome:
        case Outcome.STRANGER:
            return status == 401
        case Outcome.DENIED:
            return status == 403
        case Outcome.HIDDEN:
            return status == 404
        case Outcome.BARRED:
            return status in (403, 404)
        case Outcome.EMPTY:
            return status in (200, 404)
        case Outcome.FOREIGN:
            return status not in (401, 403)
        case Outcome.REACHED:
            return status in (200, 400, 409, 412)
        case Outcome.ALLOWED:
            return status != 401
        case Outcome.PARTLY:
            return status == 200
        case Outcome.PUBLIC:
            return status < 500


@dataclass
class Tried:
    """What came of many cells."""

    cells: int = 0
    refused: int = 0
    """Calls that were refused and watched: no row may change."""
    vague: set[str] = field(default_factory=set[str])
    """Methods refused for the form of the request to those who may: what others are refused there proves little."""
    faults: list[str] = field(default_factory=list[str])

    @property
    def leaks(self) -> int:
        """How many answers told what they must not."""
        return sum("leak:" in fault for fault in self.faults)

    @property
    def changes(self) -> int:
        """How many refused calls, or batches of them, changed a row."""
        return sum("changed rows" in fault for fault in self.faults)


def attempt(cast: Cast, some: Sequence[Cell], rows: Rows | None, tried: Tried) -> None:
    """Makes the calls and looks for faults. With `rows`, no row may have changed after all of them."""
    for cell in some:
        said = cell.way(cast, cell.method, cell.caller)
        tried.cells += 1
        tried.refused += rows is not None and said.status >= 400
        if cell.outcome is Outcome.REACHED and said.status == 400:
            tried.vague.add(cell.method.name)
        tried.faults += faults(cell, said, cast.world)
    changed = rows.changed() if rows is not None else []
    if changed:
        whose = str(some[0]) if len(some) == 1 else some[0].method.full_name
        tried.faults.append(f"{whose}: changed rows of {', '.join(changed)}")
