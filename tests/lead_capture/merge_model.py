"""Merges of leads and their undoing as a state machine: leads come, change, are spoken with, merged and parted in any order.
Whatever happens, who is open is who the model says, each has what was given to it and to those that went into it, and no other;
and where nothing has happened in between, every row is what it was.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from google.protobuf.message import Message
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from kehu.leads.v1 import cleaning_service_pb2, lead_merge_pb2, lead_pb2, lead_service_pb2

from chassis.errors import Problem
from chassis.testing import somebody

_TABLES = ("leads", "lead_captures", "lead_touches")
_WRITES = "{version,updated_at,updated_by,touch_time,reclaim_time}"
"""What counts and dates the writes, and the work on a lead."""
_PLACES = st.integers(0, 99)
_TEXTS = st.sampled_from(["", "a", "b"])


@dataclass
class _Done:
    """A merge that was not undone: who went into whom, all rows before it and behind it, and what those who went had."""

    merge_id: str
    survivor: str
    gone: dict[str, lead_pb2.Lead]
    before: Any
    after: Any
    tags: dict[str, set[str]]
    contacts: dict[str, int]


class Machine(RuleBasedStateMachine):
    """A list of leads."""

    loop: asyncio.AbstractEventLoop
    suite: Any

    def __init__(self) -> None:
        super().__init__()
        self.who = somebody(f"m{uuid4().hex[:12]}")
        self.open: list[str] = []
        self.merges: list[_Done] = []
        self.tags: dict[str, set[str]] = {}
        self.contacts: dict[str, int] = {}
        self.made = 0
        for _ in range(3):
            self.come("", "", "")

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        """What comes of work that is done where the service runs."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def ask(self, method: str, request: Message, answer: type[Any]) -> Any:
        return self.wait(self.suite.ask(self.who, method, request, answer))

    def rows(self) -> Any:
        async def look() -> dict[str, Any]:
            database = self.suite.leads.running.database
            out: dict[str, Any] = {}
            for table in _TABLES:
                statement = f"SELECT to_jsonb(t) - '{_WRITES}'::text[] AS row FROM {table} t"
                out[table] = sorted((row["row"] for row in await database.read(self.who, statement)), key=str)
            return out

        return self.wait(look())

    def one(self, place: int) -> str:
        return self.open[place % len(self.open)]

    def lead(self, id: str) -> lead_pb2.Lead:
        return self.ask("LeadService/GetLead", lead_service_pb2.GetLeadRequest(id=id), lead_pb2.Lead)

    @rule(key=st.sampled_from(["", "K1", "K2"]), title=_TEXTS, notes=_TEXTS)
    def come(self, key: str, title: str, notes: str) -> None:
        """A lead is entered; a key that is taken is refused."""
        lead = lead_pb2.Lead(name=f"L{uuid4().hex[:6]}", external_key=key, title=title, notes=notes)
        try:
            made = self.ask(
                "LeadService/CreateLead", lead_service_pb2.CreateLeadRequest(lead=lead), lead_pb2.Lead
            )
        except Problem as problem:
            assert problem.reason == "EXTERNAL_KEY_TAKEN"
            return
        self.open.append(made.id)
        self.tags[made.id], self.contacts[made.id] = set(), 0

    def update(self, id: str, **values: Any) -> None:
        request = lead_service_pb2.UpdateLeadRequest(lead=lead_pb2.Lead(id=id, **values))
        request.update_mask.paths.extend(values)
        self.ask("LeadService/UpdateLead", request, lead_pb2.Lead)

    @rule(place=_PLACES, title=_TEXTS, region=_TEXTS)
    def change(self, place: int, title: str, region: str) -> None:
        self.update(self.one(place), title=title, department=region)

    @rule(place=_PLACES)
    def mark(self, place: int) -> None:
        """A lead is given a tag that no other has."""
        id, tag = self.one(place), f"t{self.made}"
        self.made += 1
        self.update(id, tags=[*self.lead(id).tags, tag])
        self.tags[id].add(tag)

    @rule(place=_PLACES)
    def contact(self, place: int) -> None:
        """Somebody speaks with it."""
        id = self.one(place)
        request = lead_service_pb2.ContactLeadRequest(id=id, note="spoken")
        self.ask("LeadService/ContactLead", request, lead_pb2.Lead)
        self.contacts[id] += 1

    @precondition(lambda self: len(self.open) > 1)
    @rule(survivor=_PLACES, places=st.lists(_PLACES, min_size=1, max_size=2))
    def merge(self, survivor: int, places: list[int]) -> None:
        first = self.one(survivor)
        others = list(dict.fromkeys(id for id in map(self.one, places) if id != first))
        if not others:
            return
        gone, before = {id: self.lead(id) for id in others}, self.rows()
        request = cleaning_service_pb2.MergeLeadsRequest(id=first, merged_ids=others)
        merged = self.ask("CleaningService/MergeLeads", request, lead_merge_pb2.LeadMerge)
        self.open = [id for id in self.open if id not in others]
        tags = {id: self.tags.pop(id) for id in others}
        contacts = {id: self.contacts.pop(id) for id in others}
        self.tags[first] |= set().union(*tags.values())
        self.contacts[first] += sum(contacts.values())
        self.merges.append(_Done(merged.id, first, gone, before, self.rows(), tags, contacts))

    @precondition(lambda self: len(self.open) > 1)
    @rule(survivor=_PLACES, place=_PLACES, last=st.booleans())
    def merge_and_undo(self, survivor: int, place: int, last: bool) -> None:
        """What chance alone seldom brings together: a merge, work on the survivor, and the undoing of this merge or another."""
        self.mark(place)
        self.contact(place)
        id = self.one(survivor)
        self.merge(survivor, [place])
        self.mark(self.open.index(id))
        self.contact(self.open.index(id))
        if self.merges:
            self.undo(place, last)

    @precondition(lambda self: bool(self.merges))
    @rule(place=_PLACES, last=st.booleans())
    def undo(self, place: int, last: bool) -> None:
        done = self.merges[-1 if last else place % len(self.merges)]
        untouched = self.rows() == done.after
        request = cleaning_service_pb2.UndoLeadMergeRequest(id=done.merge_id)
        try:
            self.ask("CleaningService/UndoLeadMerge", request, lead_merge_pb2.LeadMerge)
        except Problem as problem:
            if problem.reason == "EXTERNAL_KEY_TAKEN":
                assert not untouched  # somebody has taken the key since: nothing is undone
                return
            assert problem.reason == "MERGE_SURVIVOR_GONE" and done.survivor not in self.open, problem
            return
        assert done.survivor in self.open
        self.merges.remove(done)
        self.open += done.gone
        self.tags[done.survivor] -= set().union(*done.tags.values())
        self.contacts[done.survivor] -= sum(done.contacts.values())
        self.tags |= done.tags
        self.contacts |= done.contacts
        if untouched:
            assert self.rows() == done.before
        for id, was in done.gone.items():
            found = self.lead(id)
            for name in ("name", "title", "department", "notes", "external_key", "status", "contact_count"):
                assert getattr(found, name) == getattr(was, name), name

    @invariant()
    def everybody_has_their_own(self) -> None:
        request = lead_service_pb2.ListLeadsRequest(page_size=200)
        listed = self.ask("LeadService/ListLeads", request, lead_service_pb2.ListLeadsResponse).leads
        there = {one.id: one for one in listed if not one.duplicate_of_lead_id}
        assert sorted(there) == sorted(self.open)
        for id, one in there.items():
            assert (set(one.tags), one.contact_count) == (self.tags[id], self.contacts[id])
        gone = {id: done.survivor for done in self.merges for id in done.gone}
        assert {one.id: one.duplicate_of_lead_id for one in listed if one.duplicate_of_lead_id} == gone


_SETTINGS = settings(
    max_examples=6, stateful_step_count=15, derandomize=True, print_blob=False, database=None,
    phases=[Phase.generate],
)  # fmt: skip


async def run(suite: Any) -> None:
    """Runs the machine beside the loop in which the service runs. Raises AssertionError when it finds a fault."""
    Machine.loop, Machine.suite = asyncio.get_running_loop(), suite
    await asyncio.to_thread(run_state_machine_as_test, Machine, settings=_SETTINGS)
