"""The gRPC face of search across: what a few words find in a service, over the search of its lists. Any service mounts it so::

    search_face("kehu.leads.v1.SearchService", {
        "lead": Searched(LEADS, title="name", subtitle=("company_name",), people={"name": "name"}, phones={"phone": "phone"}),
    })

The groups of fields are those of the record's `find_by`. Each list is read as its own List method reads it: under the caller's
rights, ranked. A kind that the caller has no right to read is left out.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kehu.search.v1 import search_pb2 as pb

from chassis import search
from chassis.listing import Listing
from chassis.matched import Match, Texts, matches
from chassis.principal import Act, Reach
from chassis.rpc import Call, Face

FEW = 5
"""Hits of each kind, when nobody says how many."""

Source = str | Callable[[Any], Iterable[str]]
"""A column that holds a text or texts, or what takes the texts out of a row."""
Sources = Mapping[str, Source]
"""By the field's name on the wire."""

_RANKS = {1: pb.SEARCH_RANK_EXACT, 2: pb.SEARCH_RANK_BEGINS}


@dataclass(frozen=True)
class Searched:
    """How one kind of record is found and shown."""

    listing: Listing
    title: str
    """The column that says what it is called; where it is empty, the first of the subtitle stands in its place."""
    subtitle: tuple[str, ...] = ()
    """Columns that tell it apart."""
    names: Sources = field(default_factory=dict[str, Source])
    people: Sources = field(default_factory=dict[str, Source])
    phones: Sources = field(default_factory=dict[str, Source])
    texts: Sources = field(default_factory=dict[str, Source])

    def hit(self, row: Any, words: Iterable[str]) -> pb.SearchHit:
        """The row as it is shown to whoever searched for these words."""
        told = [text for text in (str(row[column]) for column in (self.title, *self.subtitle)) if text]
        taken = (self.names, self.people, self.phones, self.texts)
        texts = Texts(*({name: _values(row, one) for name, one in group.items()} for group in taken))
        return pb.SearchHit(
            id=str(row["id"]), title=told[0] if told else "", subtitle=" · ".join(told[1:]),
            rank=_RANKS.get(row["rank"], pb.SEARCH_RANK_HOLDS), matches=map(_match, matches(texts, words)),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _First:
    """Asks a list for its first page."""

    query: str
    page_size: int
    page_token: str = ""


def search_face(service: str, records: Mapping[str, Searched]) -> Face:
    """The face of that SearchService, by kind of record. Raises ValueError when the contract names other kinds."""
    face = Face(service)
    contract = face.searched("SearchRecords")
    if list(records) != contract:
        raise ValueError(f"{service} looks through {', '.join(records)}; its contract says {contract}")

    async def search_records(request: pb.SearchRecordsRequest, call: Call) -> pb.SearchRecordsResponse:
        query = search.query(request.query)
        if query is None:
            return pb.SearchRecordsResponse()
        asked = set(request.record_types or records)
        wanted = [
            (name, one) for name, one in records.items()
            if name in asked and call.who.reach(one.listing.right or "", Act.READ) is not Reach.NONE
        ]  # fmt: skip
        first = _First(request.query, request.page_size or FEW)
        pages = await asyncio.gather(*(one.listing.page(call, first) for _, one in wanted))
        answer = pb.SearchRecordsResponse()
        for (name, one), page in zip(wanted, pages, strict=True):
            if page.rows:
                shown = [one.hit(row, query.words) for row in page.rows]
                answer.groups.add(record_type=name, hits=shown, more=bool(page.next_page_token))
        return answer

    face.read("SearchRecords")(search_records)
    return face


def _values(row: Any, source: Source) -> list[str]:
    found = row[source] if isinstance(source, str) else source(row)
    return [found] if isinstance(found, str) else [str(one) for one in found]


def _match(match: Match) -> pb.SearchMatch:
    return pb.SearchMatch(field=match.field, value=match.value, part=match.part)
