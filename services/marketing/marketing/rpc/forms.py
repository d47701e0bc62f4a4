"""WebFormService, but for what strangers send."""

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.empty_pb2 import Empty
from kehu.marketing.v1 import web_form_pb2 as pb
from kehu.marketing.v1 import web_form_service_pb2 as service_pb

from chassis.database import Transaction
from chassis.fields import Field, Kind
from chassis.ids import parse_id
from chassis.listing import OWNER_FIELDS, RECORD_FIELDS, Listing
from chassis.owners import Owner, owner_for
from chassis.rpc import Call, Face
from marketing.form import (
    STATUSES,
    WebForm,
    assign_form,
    change_form,
    close_form,
    fields_of,
    put_up,
    reopen_form,
    take_down,
)
from marketing.rpc.messages import form_message, form_values
from marketing.snippet import action_of, snippet

face = Face("kehu.marketing.v1.WebFormService")

FORMS = Listing(
    WebForm,
    "campaigns",
    {
        **RECORD_FIELDS,
        **OWNER_FIELDS,
        "name": Field("name", Kind.TEXT, sortable=True),
        "campaignId": Field("campaign_id", Kind.UUID, nullable=True),
        "status": Field("status", Kind.ENUM, values=STATUSES, prefix="WEB_FORM_STATUS_"),
        "submissionCount": Field("submission_count", Kind.INTEGER, sortable=True),
    },
    search=True,
)


async def _locked(tx: Transaction, id: str, etag: str, field: str = "id") -> WebForm:
    form = await tx.get(WebForm, parse_id(id, field), right="campaigns")
    tx.check_etag(form, etag)
    return form


async def _answer(tx: Transaction, form: WebForm) -> pb.WebForm:
    await tx.session.flush()
    return form_message(form)


@face.read("GetWebForm")
async def get_form(request: service_pb.GetWebFormRequest, call: Call) -> pb.WebForm:
    return form_message(await FORMS.get(call, request.id))


@face.read("ListWebForms")
async def list_forms(request: service_pb.ListWebFormsRequest, call: Call) -> service_pb.ListWebFormsResponse:
    page = await FORMS.page(call, request)
    return service_pb.ListWebFormsResponse(
        web_forms=[form_message(row) for row in page.rows], next_page_token=page.next_page_token
    )


async def _owner_of_new(request: service_pb.CreateWebFormRequest, call: Call) -> Owner:
    return await owner_for(call, request.web_form.owner_id, "campaigns", "webForm.ownerId")


@face.write("CreateWebForm", prepare=_owner_of_new)
async def create(request: service_pb.CreateWebFormRequest, tx: Transaction, owner: Owner) -> pb.WebForm:
    id = parse_id(request.web_form_id, "webFormId") if request.web_form_id else None
    return await _answer(tx, await put_up(tx, form_values(request.web_form), owner, id))


@face.write("UpdateWebForm")
async def update(request: service_pb.UpdateWebFormRequest, tx: Transaction) -> pb.WebForm:
    form = await _locked(tx, request.web_form.id, request.web_form.etag, "webForm.id")
    await change_form(tx, form, form_values(request.web_form, request.update_mask))
    return await _answer(tx, form)


@face.write("DeleteWebForm")
async def delete(request: service_pb.DeleteWebFormRequest, tx: Transaction) -> Empty:
    take_down(tx, await _locked(tx, request.id, request.etag))
    return Empty()


async def _new_owner(request: service_pb.AssignWebFormRequest, call: Call) -> Owner:
    return await owner_for(call, request.owner_id, "campaigns", "ownerId")


@face.write("AssignWebForm", prepare=_new_owner)
async def assign(request: service_pb.AssignWebFormRequest, tx: Transaction, owner: Owner) -> pb.WebForm:
    form = await _locked(tx, request.id, request.etag)
    assign_form(tx, form, owner)
    return await _answer(tx, form)


@face.write("CloseWebForm")
async def close(request: service_pb.CloseWebFormRequest, tx: Transaction) -> pb.WebForm:
    form = await _locked(tx, request.id, request.etag)
    close_form(tx, form)
    return await _answer(tx, form)


@face.write("ReopenWebForm")
async def reopen(request: service_pb.ReopenWebFormRequest, tx: Transaction) -> pb.WebForm:
    form = await _locked(tx, request.id, request.etag)
    await reopen_form(tx, form)
    return await _answer(tx, form)


@face.read("GetWebFormSnippet")
async def get_snippet(request: service_pb.GetWebFormSnippetRequest, call: Call) -> HttpBody:
    form = await FORMS.get(call, request.id)
    action = action_of(request.gateway_url, form["public_key"])
    html = snippet(action, fields_of(form["fields"]), form["submit_label"])
    return HttpBody(content_type="text/html; charset=utf-8", data=html.encode())
