"""NotificationService: the inbox of whoever asks."""

from typing import Any

from kehu.notifications.v1 import notification_pb2 as pb
from kehu.notifications.v1 import notification_service_pb2 as service_pb

from chassis.database import Transaction
from chassis.errors import Invalid, NotFound
from chassis.fields import Field, Kind
from chassis.ids import parse_id
from chassis.listing import Listing
from chassis.mapping import Mapping, to_datetime
from chassis.records import etag
from chassis.rpc import Call, Face
from notifications import notification as use
from notifications.inbox import KINDS, Preferences, mute
from notifications.locale import locale_of, own_locale
from notifications.notification import Notification, title
from notifications.wording import language_of

face = Face("kehu.notifications.v1.NotificationService")
_MESSAGE = Mapping(
    pb.Notification, skip=("title",), columns={"record_type": "about_type", "record_id": "about_id"}
)
_PREFIX = "NOTIFICATION_KIND_"

NOTIFICATIONS = Listing(
    Notification,
    None,  # no right: each list and each record is narrowed to whom it belongs
    {
        "createTime": Field("created_at", Kind.TIMESTAMP, sortable=True),
        "dueTime": Field("due_time", Kind.TIMESTAMP, nullable=True),
        "unread": Field("unread", Kind.BOOL, sortable=True),
        "kind": Field("kind", Kind.ENUM, values=KINDS, prefix=_PREFIX),
        "recordType": Field("about_type", Kind.TEXT),
        "recordId": Field("about_id", Kind.UUID, nullable=True),
        "actorId": Field("actor_id", Kind.UUID, nullable=True),
        "personId": Field("person_id", Kind.UUID),
        "archived": Field("archived", Kind.BOOL),
    },
)


def _message(row: Any, language: str) -> pb.Notification:
    message = _MESSAGE.message(row)
    message.title = title(row.__getitem__ if hasattr(row, "keys") else row.__getattribute__, language)
    return message


async def _language(call: Call) -> str:
    return language_of((await own_locale(call.database, call.who)).language)


async def _answer(tx: Transaction, row: Notification) -> pb.Notification:
    await tx.session.flush()
    return _message(row, language_of((await locale_of(tx, tx.who.person_id)).language))


@face.read("ListNotifications")
async def list_notifications(
    request: service_pb.ListNotificationsRequest, call: Call
) -> service_pb.ListNotificationsResponse:
    where = {"personId": call.who.person_id, "archived": request.archived}
    page = await NOTIFICATIONS.page(call, request, where)
    language = await _language(call)
    return service_pb.ListNotificationsResponse(
        notifications=[_message(row, language) for row in page.rows], next_page_token=page.next_page_token
    )


@face.read("GetNotification")
async def get_notification(request: service_pb.GetNotificationRequest, call: Call) -> pb.Notification:
    row = await NOTIFICATIONS.get(call, request.id)
    if row["person_id"] != call.who.person_id:
        raise NotFound("notification", request.id)
    return _message(row, await _language(call))


_COUNT = "SELECT count(*) AS unread FROM notifications WHERE person_id = $1 AND unread AND NOT archived AND deleted_at IS NULL"


@face.read("CountUnread")
async def count_unread(request: service_pb.CountUnreadRequest, call: Call) -> service_pb.CountUnreadResponse:
    rows = await call.database.read(call.who, _COUNT, call.who.person_id)
    return service_pb.CountUnreadResponse(unread_count=rows[0]["unread"])


@face.write("MarkRead")
async def mark_read(request: service_pb.MarkReadRequest, tx: Transaction) -> pb.Notification:
    return await _answer(tx, await use.mark(tx, parse_id(request.id, "id"), unread=False))


@face.write("MarkUnread")
async def mark_unread(request: service_pb.MarkUnreadRequest, tx: Transaction) -> pb.Notification:
    return await _answer(tx, await use.mark(tx, parse_id(request.id, "id"), unread=True))


@face.write("MarkAllRead")
async def mark_all_read(
    request: service_pb.MarkAllReadRequest, tx: Transaction
) -> service_pb.MarkAllReadResponse:
    until = to_datetime(request.until_time) if request.HasField("until_time") else tx.now
    kinds = [pb.NotificationKind.Name(request.kind).removeprefix(_PREFIX)] if request.kind else KINDS
    marked, unread = await use.mark_all(tx, until, kinds)
    return service_pb.MarkAllReadResponse(marked_count=marked, unread_count=unread)


@face.write("ArchiveNotification")
async def archive(request: service_pb.ArchiveNotificationRequest, tx: Transaction) -> pb.Notification:
    return await _answer(tx, await use.put_away(tx, parse_id(request.id, "id"), archived=True))


@face.write("UnarchiveNotification")
async def unarchive(request: service_pb.UnarchiveNotificationRequest, tx: Transaction) -> pb.Notification:
    return await _answer(tx, await use.put_away(tx, parse_id(request.id, "id"), archived=False))


# ---- preferences


def _preferences(version: int, muted_kinds: list[str]) -> pb.NotificationPreferences:
    kinds = [pb.NotificationKind.Value(_PREFIX + kind) for kind in muted_kinds]
    return pb.NotificationPreferences(etag=etag(version), muted_kinds=kinds)


@face.read("GetNotificationPreferences")
async def get_preferences(
    request: service_pb.GetNotificationPreferencesRequest, call: Call
) -> pb.NotificationPreferences:
    sql = "SELECT version, muted_kinds FROM preferences WHERE id = $1"
    rows = await call.database.read(call.who, sql, call.who.person_id)
    return _preferences(rows[0]["version"], rows[0]["muted_kinds"]) if rows else _preferences(0, [])


@face.write("UpdateNotificationPreferences")
async def update_preferences(
    request: service_pb.UpdateNotificationPreferencesRequest, tx: Transaction
) -> pb.NotificationPreferences:
    wanted = request.notification_preferences
    wrong = [path for path in request.update_mask.paths if path != "muted_kinds"]
    if wrong:
        raise Invalid(wrong[0], "cannot be changed here", reason="FIELD_NOT_WRITABLE")
    named = request.update_mask.paths or wanted.muted_kinds
    kinds = [pb.NotificationKind.Name(kind).removeprefix(_PREFIX) for kind in wanted.muted_kinds]
    if "UNSPECIFIED" in kinds:
        raise Invalid("notificationPreferences.mutedKinds", "names no kind")
    changed: Preferences = await mute(tx, kinds if named else None, wanted.etag)
    await tx.session.flush()
    return _preferences(changed.version, changed.muted_kinds)
