"""Importing activities from files: what was done elsewhere and what is planned, at the times that stand there."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlmodel import col

from chassis.custom_fields.definitions import taken
from chassis.custom_fields.given import COLUMN
from chassis.database import Transaction
from chassis.errors import Invalid, Problem
from chassis.imports.custom import refused_by
from chassis.imports.duplicates import Do, decided, lacking
from chassis.imports.importer import (
    Found,
    Importer,
    ImportRow,
    Options,
    Outcome,
    Undo,
    by_name,
    created,
    refused,
    unchanged,
    updated,
)
from chassis.imports.mapping import Target
from chassis.imports.owners import OWNER, owners_under
from chassis.imports.progress import ImportProgressed
from chassis.imports.values import Choice, Moment, Number, Reference, Refused, Text
from chassis.papers import papers_on
from chassis.principal import Act
from chassis.rpc import Call
from chassis.visibility import visible
from sales.activity import (
    CANCELLED,
    COMPLETED,
    PLANNED,
    Activity,
    assign_activity,
    bring_in,
    cancel,
    change_activity,
    complete,
    drop_activity,
    keep_next,
)
from sales.custom_fields import CUSTOM_FIELDS
from sales.errors import ActivityNotPlanned, ActivityTouched, ImportMovedOn
from sales.opportunity import Opportunity
from sales.rpc.peers import customers_named_or_keyed

RIGHT = "opportunities"


async def find_customers(call: Call, wanted: Sequence[str]) -> dict[str, Found | Refused]:
    """Customers by their keys in another system, or else by name, among those that the person who imports may see."""
    known = await customers_named_or_keyed(call, wanted)
    keyed: dict[str, Found | Refused] = {
        key: Found((id, name)) for name, key, id in known if key and key in wanted
    }
    left = [one for one in wanted if one not in keyed]
    return keyed | by_name(left, [(name, (id, name)) for name, _, id in known], "customer")


async def find_opportunities(call: Call, wanted: Sequence[str]) -> dict[str, Found | Refused]:
    """Opportunities by their keys in another system, or else by their names as they are written, among those that the person who
    imports may see."""
    it = Opportunity
    found = select(col(it.id), col(it.name), col(it.external_key), col(it.customer_id), col(it.customer_name)).where(
        col(it.deleted_at).is_(None), visible(it, call.who, RIGHT, Act.READ)
    )  # fmt: skip
    out: dict[str, Found | Refused] = {}
    async with call.database.transaction(call.who) as tx:
        # One after the other, for each has its index: to ask for either at once would read all of them.
        for row in await tx.session.execute(found.where(col(it.external_key).in_(wanted))):
            out[row.external_key] = Found(_opportunity(row))
        left = [one for one in wanted if one not in out]
        if left:
            rows = await tx.session.execute(found.where(col(it.name).in_(left)))
            out |= by_name(left, [(row.name, _opportunity(row)) for row in rows], "opportunity")
    return out


def _opportunity(row: Any) -> tuple[UUID, tuple[UUID, str]]:
    return row.id, (row.customer_id, row.customer_name)


async def save_activities(tx: Transaction, rows: list[ImportRow], options: Options) -> list[Outcome]:
    """New activities, as they stand. With UPSERT the one that has the external key already is changed, as far as one that has
    ended can be; a planned one is completed, cancelled or given to another owner as the row says."""
    keys = [row.values["externalKey"] for row in rows if row.values.get("externalKey")]
    found = await tx.session.execute(_KEYED, {"keys": keys})
    there: dict[str, UUID] = {row.external_key: row.id for row in found}
    mine = options.owner(tx.who)
    out: list[Outcome] = []
    concerned: set[UUID | None] = set()
    # What is changed may have been made by a row above.
    async with nullcontext() if options.changes else tx.in_bulk():
        for row in rows:
            values = row.values
            key = values.get("externalKey", "")
            todo = decided(options, there.get(key) if key else None, None, values)
            if isinstance(todo, Outcome):
                out.append(todo)
                continue
            try:
                columns, customer = _columns(values)
                if todo[0] is Do.FILL:
                    out.append(await _filled(tx, there[key], columns))
                    continue
                if todo[0] is Do.CHANGE:
                    out.append(await _changed(tx, there[key], columns, customer, values))
                    continue
                columns |= _times(values, tx.now)
            except Refused as no:
                out.append(refused(no.reason, no.message, "dueTime"))
                continue
            try:
                columns = await taken(tx, Activity.record_type, columns)
            except Invalid as problem:
                out.append(refused_by(problem))
                continue
            activity = bring_in(tx, columns, customer, values.get("owner", mine))
            concerned.add(activity.opportunity_id)
            if key:
                there[key] = activity.id
            made = created(activity.id)
            if activity.status != COMPLETED and "completeTime" in values:
                made = _left_out(made, "completeTime", activity.status)
            out.append(made)
    await keep_next(tx, *concerned)
    return out


def _left_out(outcome: Outcome, field: str, status: str) -> Outcome:
    return outcome.repaired(field, f"left out: the activity is {status}")


_KEYED = text(
    "SELECT id, external_key FROM activities WHERE external_key = ANY(:keys) AND external_key <> '' AND deleted_at IS NULL"
)


def _columns(values: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """What a row says but for status and times, and the customer's name. Raises Refused."""
    columns = {column: values[name] for name, column in _COLUMNS.items() if name in values}
    customer_id, customer = values.get("customer", (None, None))
    if "opportunity" in values:
        opportunity_id, (of_id, of_name) = values["opportunity"]
        if customer_id not in (None, of_id):
            raise Refused(
                "CUSTOMER_MISMATCH",
                f"the opportunity is one of {of_name[:60]}, and not of {str(customer)[:60]}",
            )
        columns["opportunity_id"], customer_id, customer = opportunity_id, of_id, of_name
    if customer_id is not None:
        columns["customer_id"] = customer_id
    if COLUMN in values:
        columns[COLUMN] = values[COLUMN]
    return columns, customer


_COLUMNS = {
    "subject": "subject", "kind": "kind", "description": "description", "location": "location", "result": "result",
    "durationMinutes": "duration_minutes", "externalKey": "external_key",
}  # fmt: skip


def _times(values: Mapping[str, Any], now: datetime, planned_for: datetime | None = None) -> dict[str, Any]:
    """Status and times; `planned_for` is when it was to be, where that is known. Without a status it is done when its time is
    past. Raises Refused."""
    due, done = values.get("dueTime"), values.get("completeTime")
    begins = due or planned_for or done
    if begins is None:
        raise Refused("REQUIRED", "an activity needs a time: dueTime or completeTime")
    ended = done or begins
    status = values.get("status") or (COMPLETED if ended <= now else PLANNED)
    if status != COMPLETED:
        return {"status": status, "due_time": begins}
    if ended > now:
        raise Refused("INVALID_FIELD", "what is done was done before now: the time is yet to come")
    return {"status": status, "due_time": begins, "complete_time": ended}


async def _changed(
    tx: Transaction, id: UUID, columns: dict[str, Any], customer: str | None, values: Mapping[str, Any]
) -> Outcome:
    """Makes an activity that is there what the row says; what the row leaves empty stays. Raises Refused."""
    activity = await tx.get(Activity, id, right=RIGHT)
    await tx.session.flush()
    version, status = activity.version, activity.status
    owner = values.get("owner")
    try:
        columns = await taken(tx, activity.record_type, columns, activity.custom_fields)
    except Invalid as problem:
        return refused_by(problem)
    if status != PLANNED:
        return await _corrected(tx, activity, columns, customer, values)
    times: dict[str, Any] = {}
    if values.keys() & {"status", "dueTime", "completeTime"}:
        times = _times(values, tx.now, activity.due_time)
        columns["due_time"] = times["due_time"]
        status = times["status"]
    # What it came to is told with its end.
    result = columns.pop("result", activity.result) if status == COMPLETED else activity.result
    await change_activity(tx, activity, columns, customer)
    if owner is not None:
        assign_activity(tx, activity, owner)
    if status == COMPLETED:
        await complete(tx, activity, result, times["complete_time"], 0)
    elif status == CANCELLED:
        await cancel(tx, activity, "")
    await tx.session.flush()
    outcome = unchanged(id) if activity.version == version else updated(id)
    if status != COMPLETED and "completeTime" in values:
        outcome = _left_out(outcome, "completeTime", status)
    return outcome


async def _corrected(
    tx: Transaction,
    activity: Activity,
    columns: dict[str, Any],
    customer: str | None,
    values: Mapping[str, Any],
) -> Outcome:
    """Changes of an activity that has ended what can be; its times and its owner stay, and the row is told so."""
    version = activity.version
    if values.get("status", activity.status) != activity.status:
        problem = ActivityNotPlanned(activity.status)
        return refused(problem.reason, problem.message, "status")
    try:
        await change_activity(tx, activity, columns, customer)
    except ActivityNotPlanned as problem:
        return refused(problem.reason, problem.message, "status")
    await tx.session.flush()
    outcome = unchanged(activity.id) if activity.version == version else updated(activity.id)
    stays = {"dueTime": activity.due_time, "completeTime": activity.complete_time}
    for field, there in stays.items():
        if values.get(field, there) != there:
            outcome = _left_out(outcome, field, activity.status)
    if "owner" in values and values["owner"].person_id != activity.owner_id:
        outcome = _left_out(outcome, "owner", activity.status)
    return outcome


async def _filled(tx: Transaction, id: UUID, columns: dict[str, Any]) -> Outcome:
    """Fills the fields of an activity that are empty."""
    activity = await tx.get(Activity, id, right=RIGHT)
    await tx.session.flush()
    version = activity.version
    columns = lacking(activity, {name: columns[name] for name in _FILLED if name in columns})
    try:
        columns = await taken(tx, activity.record_type, columns, activity.custom_fields)
    except Invalid as problem:
        return refused_by(problem)
    await change_activity(tx, activity, columns, None)
    await tx.session.flush()
    return unchanged(id) if activity.version == version else updated(id)


_FILLED = ("description", "location", COLUMN)


async def _put_back(tx: Transaction, activity: Activity, columns: dict[str, Any]) -> None:
    """Gives an activity the values it had before an import. Raises ImportMovedOn when the import has ended it or given it to
    somebody else."""
    if columns.keys() & {"status", "owner_id", "team_id"}:
        raise ImportMovedOn("ended the activity or given it to another owner")
    await change_activity(tx, activity, columns, columns.pop("customer_name", None))


async def _dealt_with(tx: Transaction, ids: Sequence[UUID]) -> Mapping[UUID, Problem]:
    """Why those of the activities are kept that somebody has put something on."""
    found = await papers_on(tx, Activity.record_type, ids)
    return {id: ActivityTouched(what) for id, what in found.items()}


_KIND = Choice({
    "VISIT": ("visit", "拜访", "上门"), "CALL": ("call", "phone call", "电话", "通话"),
    "EMAIL": ("email", "e-mail", "mail", "邮件"),
    "SMS": ("sms", "message", "chat", "短信", "微信", "消息"), "MEETING": ("meeting", "event", "appointment", "会议"),
    "TASK": ("task", "to do", "to-do", "todo", "任务", "待办", "其他"),
})  # fmt: skip
_STATUS = Choice({
    PLANNED: ("planned", "not started", "in progress", "open", "waiting on someone else", "计划", "未开始", "进行中"),
    COMPLETED: ("completed", "held", "done", "finished", "closed", "已完成", "完成"),
    CANCELLED: ("cancelled", "canceled", "not held", "deferred", "已取消", "取消"),
})  # fmt: skip
ACTIVITIES = Importer(
    record_type="activity",
    right=RIGHT,
    targets=(
        Target(
            "subject",
            "Subject",
            Text(200, cut=True),
            aliases=("主题", "标题", "name", "title", "summary"),
            required=True,
        ),
        Target(
            "kind",
            "Kind",
            _KIND,
            aliases=("类型", "活动类型", "type", "activity type"),
            description="visit, call, e-mail, sms, meeting or task; without one it is a task.",
        ),
        Target(
            "status",
            "Status",
            _STATUS,
            aliases=("状态", "活动状态", "activity status"),
            description="planned, completed or cancelled; without one it is completed when its end, or its time, is past.",
        ),
        Target(
            "dueTime",
            "Due",
            Moment(),
            aliases=(
                "时间",
                "开始时间",
                "计划时间",
                "日期",
                "date",
                "date start",
                "start date",
                "start",
                "due date",
            ),
        ),
        Target(
            "completeTime",
            "Completed",
            Moment(),
            aliases=("完成时间", "结束时间", "date end", "end date", "date completed", "closed on"),
        ),
        Target(
            "durationMinutes",
            "Minutes",
            Number(least=0, most=10080, decimals=0),
            aliases=("时长", "时长（分钟）", "duration"),
        ),
        Target(
            "customer",
            "Customer",
            Reference("customer", "customer"),
            aliases=("客户", "公司", "account", "company", "related to"),
        ),
        Target(
            "opportunity", "Opportunity", Reference("opportunity", "opportunity"), aliases=("商机", "deal")
        ),
        OWNER,
        Target("location", "Location", Text(300), aliases=("地点", "place")),
        Target(
            "description",
            "Description",
            Text(10000, several_lines=True),
            aliases=("说明", "内容", "备注", "notes", "body", "comment"),
        ),
        Target("result", "Result", Text(10000, several_lines=True), aliases=("结果", "outcome")),
        Target(
            "externalKey", "External key", Text(100), aliases=("编号", "id", "activity id", "external id")
        ),
    ),
    save=save_activities,
    custom_fields=CUSTOM_FIELDS,
    resolvers={"customer": find_customers, "opportunity": find_opportunities, **owners_under(RIGHT)},
    undo=Undo(Activity, drop_activity, _put_back, _dealt_with),
    progressed=ImportProgressed,
)
