"""The customers' lists, asked of customers."""

from kehu.valuelists.v1 import value_lists_pb2 as pb

from chassis.errors import Problem
from chassis.rpc import Call
from chassis.value_lists.kinds import ListKind, Offered, OneList
from leads.lists import LISTED, remember, remembered

_LIST = "kehu.customers.v1.ValueListService/ListValueLists"
_PATIENCE = 1.0
"""Seconds. A lead is not kept waiting for a list."""


async def learn(call: Call) -> None:
    """Sees to it that the tenant's lists are known, where customers answers."""
    if remembered(call.database, call.who.tenant_id) is not None:
        return
    try:
        told = await call.as_service().ask(
            _LIST, pb.ListValueListsRequest(), pb.ListValueListsResponse, timeout=_PATIENCE
        )
    except Problem:
        remember(call.database, call.who.tenant_id, {})
        return
    lists = {one.key: _list(one) for one in told.value_lists if one.key in LISTED}
    remember(call.database, call.who.tenant_id, lists)


def _list(one: pb.ValueList) -> OneList:
    values = tuple(
        Offered(value.key, value.name_zh, value.name_en, value.retired, value.built_in)
        for value in one.values
    )
    return OneList(ListKind(one.key, one.name_zh, one.name_en, values, used=()), values, one.accepts_others)
