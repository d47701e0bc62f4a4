"""Customers that are shared: who sees what by it and may do what with it, and for how long."""

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from kehu.customers.v1 import (
    contact_pb2,
    contact_service_pb2,
    customer_facet_pb2,
    customer_pb2,
    customer_service_pb2,
    duplicate_pb2,
    duplicate_service_pb2,
    membership_pb2,
    membership_service_pb2,
    merge_pb2,
    merge_service_pb2,
    partner_pb2,
    partner_service_pb2,
    points_pb2,
    points_service_pb2,
    relation_pb2,
    relation_service_pb2,
    segment_pb2,
    segment_service_pb2,
    share_service_pb2,
    trash_pb2,
    trash_service_pb2,
)
from kehu.exports.v1 import exports_pb2
from kehu.history.v1 import history_pb2
from kehu.shares.v1 import shares_pb2

from chassis.errors import Code
from chassis.principal import Principal, Reach, Rights
from chassis.shares.entries import MOST
from chassis.testing import refused

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]
Make = Callable[[], Awaitable[Any]]
READ, WRITE = shares_pb2.SHARE_ACCESS_READ, shares_pb2.SHARE_ACCESS_WRITE
TEAM = Rights(Reach.TEAM, Reach.TEAM)
GONE = (Code.NOT_FOUND, "NOT_FOUND")


def at(moment: datetime) -> Timestamp:
    out = Timestamp()
    out.FromDatetime(moment)
    return out


def soon(**parts: float) -> Timestamp:
    return at(datetime.now(UTC) + timedelta(**parts))


async def shares(c: Any, id: str, who: Principal | None = None, **asked: Any) -> Any:
    request = share_service_pb2.ListCustomerSharesRequest(customer_id=id, **asked)
    answer = share_service_pb2.ListCustomerSharesResponse
    return await c.ask("ShareService/ListCustomerShares", request, answer, who)


async def delete(c: Any, id: str, who: Principal | None = None) -> None:
    request = customer_service_pb2.DeleteCustomerRequest(id=id)
    await c.ask("CustomerService/DeleteCustomer", request, Empty, who)


async def test_who_reads_by_a_share_sees_it_everywhere_and_changes_nothing(company: Make) -> None:
    c = await company()
    ann, bob = [await c.person(name) for name in ("Ann", "Bob")]
    id, hidden = await c.customer(ann, "北京用友软件"), await c.customer(ann, "上海金蝶软件")
    contact = await c.contact(id, "张伟")
    await refused(*GONE, c.get(id, bob))
    assert await c.listed(bob) == set()
    shared = await c.share(id, who=ann, person_id=str(bob.person_id))
    (share,) = shared.shares
    assert (share.person_id, share.team_id, share.access) == (str(bob.person_id), "", READ)
    assert share.sharer_id == str(ann.person_id) and not share.HasField("until_time")
    seen = await c.get(id, bob)
    assert (seen.display_name, seen.owner_id) == ("北京用友软件", str(ann.person_id))
    assert await c.listed(bob) == {id}
    assert await c.listed(bob, query="bjyy") == {id} == await c.listed(bob, query="软件")
    assert await c.listed(bob, filter='displayName = "上海金蝶软件"') == set()
    # The contact comes with it, in every way of asking.
    get = contact_service_pb2.GetContactRequest(id=contact)
    found = await c.ask("ContactService/GetContact", get, contact_pb2.Contact, bob)
    assert (found.display_name, found.customer_name) == ("张伟", "北京用友软件")
    ways: list[dict[str, Any]] = [{}, {"member_of_customer_id": id}, {"query": "zhangwei"}]
    for asked in ways:
        request = contact_service_pb2.ListContactsRequest(**asked)
        answer = contact_service_pb2.ListContactsResponse
        page = await c.ask("ContactService/ListContacts", request, answer, bob)
        assert [one.id for one in page.contacts] == [contact], asked
    facet = customer_facet_pb2.GetCustomerFacetRequest(customer_id=id)
    whole = await c.ask("CustomerFacetService/GetCustomerFacet", facet, customer_facet_pb2.CustomerFacet, bob)
    assert [one.id for one in whole.contacts] == [contact]
    assert [change.actor_name for change in await c.history(id, bob)] == ["Ann", "Ann"]
    look_up = customer_service_pb2.LookUpCustomersRequest(ids=[id, hidden])
    cards = await c.ask(
        "CustomerService/LookUpCustomers", look_up, customer_service_pb2.LookUpCustomersResponse, bob
    )
    assert [(card.id, len(card.shares)) for card in cards.customers] == [(id, 1)]
    # Reading is all.
    await refused(Code.PERMISSION_DENIED, "RECORD_READ_ONLY", c.rename(id, "x", bob))
    await refused(Code.PERMISSION_DENIED, "RECORD_READ_ONLY", delete(c, id, bob))
    change = contact_service_pb2.UpdateContactRequest(contact=contact_pb2.Contact(id=contact, title="x"))
    changed = c.ask("ContactService/UpdateContact", change, contact_pb2.Contact, bob)
    await refused(Code.PERMISSION_DENIED, "RECORD_READ_ONLY", changed)
    passed_on = c.share(id, who=bob, person_id=str(c.boss.person_id))
    await refused(Code.PERMISSION_DENIED, "RECORD_READ_ONLY", passed_on)
    # … and ends with the share.
    await c.unshare(id, ann, person_id=str(bob.person_id))
    await refused(*GONE, c.get(id, bob))
    assert await c.listed(bob) == set()
    await refused(*GONE, c.ask("ContactService/GetContact", get, contact_pb2.Contact, bob))
    assert await c.told(id) == ["customer.created", "customer.shared", "customer.unshared"]
    lines = [(f.field, f.old_value, f.new_value) for one in await c.history(id) for f in one.fields]
    name = f"shares.{bob.person_id}"
    assert lines == [(name, "person, to read", ""), (name, "", "person, to read")]


async def test_who_writes_by_a_share_changes_it_and_does_not_dispose_of_it(company: Make) -> None:
    c = await company()
    ann, bob = [await c.person(name) for name in ("Ann", "Bob")]
    id, twin = await c.customer(ann), await c.customer(bob)
    contact = await c.contact(id, "李娜")
    await c.share(id, WRITE, ann, person_id=str(bob.person_id))
    assert (await c.rename(id, "新名", bob)).display_name == "新名"
    change = contact_service_pb2.UpdateContactRequest(contact=contact_pb2.Contact(id=contact, title="CEO"))
    changed = await c.ask("ContactService/UpdateContact", change, contact_pb2.Contact, bob)
    assert changed.title == "CEO"
    created = contact_service_pb2.CreateContactRequest(
        contact=contact_pb2.Contact(customer_id=id, display_name="王芳")
    )
    made = await c.ask("ContactService/CreateContact", created, contact_pb2.Contact, bob)
    assert made.owner_id == str(ann.person_id)
    relation = relation_pb2.CustomerRelation(
        type=relation_pb2.RELATION_TYPE_PARTNER, from_customer_id=id, to_customer_id=twin
    )
    request = relation_service_pb2.CreateCustomerRelationRequest(relation=relation)
    related = await c.ask(
        "RelationService/CreateCustomerRelation", request, relation_pb2.CustomerRelation, bob
    )
    assert related.from_customer.display_name == "新名"
    only = (Code.PERMISSION_DENIED, "SHARED_ONLY")
    await refused(*only, delete(c, id, bob))
    assign = customer_service_pb2.AssignCustomerRequest(id=id, owner_id=str(bob.person_id))
    await refused(*only, c.ask("CustomerService/AssignCustomer", assign, customer_pb2.Customer, bob))
    await refused(*only, c.share(id, who=bob, person_id=str(c.boss.person_id)))
    await refused(*only, c.unshare(id, bob, person_id=str(bob.person_id)))
    for survivor, gone in ((id, twin), (twin, id)):
        merge = merge_service_pb2.MergeCustomersRequest(id=survivor, merged_ids=[gone])
        await refused(*only, c.ask("MergeService/MergeCustomers", merge, merge_pb2.Merge, bob))
    drop = contact_service_pb2.DeleteContactRequest(id=contact)
    dropped = c.ask("ContactService/DeleteContact", drop, Empty, bob)
    await refused(Code.PERMISSION_DENIED, "RECORD_READ_ONLY", dropped)
    # Shared again, with less.
    await c.share(id, READ, ann, person_id=str(bob.person_id))
    await refused(Code.PERMISSION_DENIED, "RECORD_READ_ONLY", c.rename(id, "x", bob))
    before = await c.told(id)
    await c.share(id, READ, ann, person_id=str(bob.person_id))
    assert await c.told(id) == before, "nothing has changed, and nothing is told"
    # Whose role lets them write no customer gets no such right by a share.
    reader = await c.person("Reader", customers=Rights(Reach.OWN, Reach.NONE))
    await c.share(id, WRITE, ann, person_id=str(reader.person_id))
    assert (await c.get(id, reader)).id == id
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", c.rename(id, "x", reader))
    nobody = await c.person("Nobody", customers=Rights())
    await c.share(id, WRITE, ann, person_id=str(nobody.person_id))
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", c.get(id, nobody))


async def test_cards_and_partners_follow_the_shares_of_their_customer(company: Make) -> None:
    """Who reads the customer by a share reads them, with their history; who writes it changes them, and disposes of neither."""
    c = await company()
    ann, reader, writer, stranger = [await c.person(name) for name in ("Ann", "Reader", "Writer", "Stranger")]
    id = await c.customer(ann)
    await c.share(id, READ, ann, person_id=str(reader.person_id))
    await c.share(id, WRITE, ann, person_id=str(writer.person_id))

    def partners(method: str, **fields: Any) -> tuple[str, Any]:
        return f"PartnerService/{method}", getattr(partner_service_pb2, f"{method}Request")(**fields)

    def cards(method: str, **fields: Any) -> tuple[str, Any]:
        return f"MembershipService/{method}", getattr(membership_service_pb2, f"{method}Request")(**fields)

    made = partner_pb2.Partner(customer_id=id, type="distributor")
    partner = await c.ask(*partners("CreatePartner", partner=made), partner_pb2.Partner, writer)
    issued = membership_pb2.MembershipCard(customer_id=id)
    card = await c.ask(*cards("CreateMembershipCard", card=issued), membership_pb2.MembershipCard, writer)
    for who in (ann, reader, writer):
        found = await c.ask(*partners("GetPartner", id=partner.id), partner_pb2.Partner, who)
        assert found.customer.id == id
        page = await c.ask(*partners("ListPartners"), partner_service_pb2.ListPartnersResponse, who)
        assert [one.id for one in page.partners] == [partner.id]
        for record_type, record_id in (("partner", partner.id), ("card", card.id)):
            asked = history_pb2.ListChangesRequest(record_type=record_type, record_id=record_id)
            changes = await c.ask("HistoryService/ListChanges", asked, history_pb2.ListChangesResponse, who)
            assert len(changes.changes) == 1
    changed = partner_pb2.Partner(id=partner.id, notes="agreed")
    change = partners("UpdatePartner", partner=changed, update_mask=FieldMask(paths=["notes"]))
    redeem = points_service_pb2.RedeemPointsRequest(id=card.id, points=1, request_id="once")
    acts = (
        (*change, partner_pb2.Partner),
        (*cards("BlockMembershipCard", id=card.id), membership_pb2.MembershipCard),
        (*cards("UnblockMembershipCard", id=card.id), membership_pb2.MembershipCard),
        (*cards("ReplaceMembershipCard", id=card.id), membership_pb2.MembershipCard),
        (*cards("RenewMembershipCard", id=card.id), membership_pb2.MembershipCard),
    )
    for act in acts:
        await refused(Code.PERMISSION_DENIED, "RECORD_READ_ONLY", c.ask(*act, reader))
        await refused(*GONE, c.ask(*act, stranger))
        await c.ask(*act, writer)
    redeemed = ("PointsService/RedeemPoints", redeem, points_pb2.PointsTransaction)
    await refused(Code.FAILED_PRECONDITION, "POINTS_INSUFFICIENT", c.ask(*redeemed, writer))
    await refused(Code.PERMISSION_DENIED, "RECORD_READ_ONLY", c.ask(*redeemed, reader))
    end = partners("DeletePartner", id=partner.id)
    await refused(Code.PERMISSION_DENIED, "SHARED_ONLY", c.ask(*end, Empty, writer))
    await c.unshare(id, ann, person_id=str(writer.person_id))
    for act in acts:
        await refused(*GONE, c.ask(*act, writer))
    await refused(*GONE, c.ask(*partners("GetPartner", id=partner.id), partner_pb2.Partner, writer))
    await c.ask(*end, Empty, ann)


async def test_a_share_lasts_until_its_time(company: Make) -> None:
    c = await company()
    ann, bob = [await c.person(name) for name in ("Ann", "Bob")]
    id = await c.customer(ann)
    past = c.share(id, who=ann, person_id=str(bob.person_id), until_time=soon(seconds=-1))
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", past)
    await c.share(id, WRITE, ann, person_id=str(bob.person_id), until_time=soon(days=1))
    assert (await c.rename(id, "by a share", bob)).shares[0].HasField("until_time")
    over = datetime.now(UTC) - timedelta(seconds=1)
    await c.execute(
        "UPDATE customers SET shared_with = jsonb_set(shared_with, '{0,until}', to_jsonb(CAST(:p0 AS text)))"
        " WHERE id = CAST(:p1 AS uuid)",
        over.isoformat(),
        id,
    )
    await c.execute("UPDATE shares SET until_time = :p0 WHERE record_id = CAST(:p1 AS uuid)", over, id)
    await refused(*GONE, c.get(id, bob))
    await refused(*GONE, c.rename(id, "x", bob))
    assert await c.listed(bob) == set()
    assert not (await c.get(id)).shares and not (await shares(c, id)).shares
    await refused(Code.NOT_FOUND, "SHARE_NOT_FOUND", c.unshare(id, ann, person_id=str(bob.person_id)))


async def test_a_team_is_its_members_and_whose_reach_covers_it(company: Make) -> None:
    c = await company()
    south, north = [await c.team(name) for name in ("South", "North")]
    ann, member, other = (
        await c.person("Ann"), await c.person("Member", south), await c.person("Other", north),
    )  # fmt: skip
    above = await c.person("Above", north, customers=TEAM)
    above = replace(above, team_ids=above.team_ids | member.team_ids)
    own = replace(above, rights=other.rights)
    id = await c.customer(ann)
    await c.share(id, WRITE, ann, team_id=south)
    for who in (member, above):
        assert (await c.get(id, who)).shares[0].team_id == south
        assert id in await c.listed(who)
    assert (await c.rename(id, "by the team", member)).display_name == "by the team"
    for who in (other, own):
        await refused(*GONE, c.get(id, who))
    await refused(Code.INVALID_ARGUMENT, "GRANTEE_NOT_FOUND", c.share(id, who=ann, team_id=str(uuid4())))
    await c.unshare(id, ann, team_id=south)
    await refused(*GONE, c.get(id, member))


async def test_the_wrong_way(company: Make) -> None:
    c, rival = await company(), await company()
    ann, bob = [await c.person(name) for name in ("Ann", "Bob")]
    id = await c.customer(ann)
    to_bob = {"person_id": str(bob.person_id)}
    await refused(*GONE, c.share(id, who=bob, **to_bob))
    await refused(*GONE, rival.share(id, person_id=str(rival.boss.person_id)))
    await refused(*GONE, shares(c, id, bob))
    await refused(*GONE, shares(rival, id))
    stranger = c.share(id, who=ann, person_id=str(rival.boss.person_id))
    await refused(Code.INVALID_ARGUMENT, "GRANTEE_NOT_FOUND", stranger)
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", c.share(id, who=ann))
    both = c.share(id, who=ann, team_id=await c.team("Both"), **to_bob)
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", both)
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", c.share(id, who=ann, person_id="bob"))
    await refused(Code.NOT_FOUND, "SHARE_NOT_FOUND", c.unshare(id, ann, **to_bob))
    await refused(Code.ABORTED, "ETAG_MISMATCH", c.share(id, who=ann, etag="7", **to_bob))
    await c.disable(bob)
    await refused(Code.INVALID_ARGUMENT, "GRANTEE_NOT_FOUND", c.share(id, who=ann, **to_bob))
    # A repeat of the same request changes nothing more.
    cy = str((await c.person("Cy")).person_id)
    first = await c.share(id, who=ann, person_id=cy, request_id="once")
    assert (await c.share(id, who=ann, person_id=cy, request_id="once")).etag == first.etag
    assert (await c.told(id)).count("customer.shared") == 1
    # Another company's person of the same id sees nothing by it.
    double = replace(rival.boss, person_id=c.people[cy].person_id, rights=bob.rights)
    await refused(*GONE, c.get(id, double))
    assert await c.listed(double) == set()


async def test_there_are_only_so_many_and_they_are_paged(company: Make) -> None:
    c = await company()
    id = await c.customer()
    teams = [await c.team(f"Team {number}") for number in range(MOST)]
    for team in teams:
        await c.share(id, team_id=team)
    one_more = c.share(id, team_id=await c.team("One more"))
    await refused(Code.FAILED_PRECONDITION, "TOO_MANY_SHARES", one_more)
    await c.share(id, WRITE, team_id=teams[0])  # one that is there may be changed
    found, token = list[str](), ""
    while True:
        page = await shares(c, id, page_size=20, page_token=token)
        found += [one.team_id for one in page.shares]
        token = page.next_page_token
        if not token:
            break
    assert found == teams
    wrong = shares(c, await c.customer(), page_token=(await shares(c, id, page_size=1)).next_page_token)
    await refused(Code.INVALID_ARGUMENT, "PAGE_TOKEN_MISMATCH", wrong)


async def test_shares_go_to_the_trash_and_come_back(company: Make) -> None:
    c = await company()
    ann, bob = [await c.person(name) for name in ("Ann", "Bob")]
    id = await c.customer(ann)
    await c.share(id, who=ann, person_id=str(bob.person_id))
    await delete(c, id, ann)
    await refused(*GONE, c.get(id, bob))
    await refused(*GONE, c.history(id, bob))
    assert not await c.rows("SELECT record_id FROM shares WHERE record_id = $1::uuid", id)
    request = trash_service_pb2.ListTrashRequest()
    trash = await c.ask("TrashService/ListTrash", request, trash_service_pb2.ListTrashResponse, bob)
    assert not trash.items
    back = trash_service_pb2.RestoreTrashItemRequest(id=id)
    await refused(*GONE, c.ask("TrashService/RestoreTrashItem", back, trash_pb2.TrashItem, bob))
    await c.ask("TrashService/RestoreTrashItem", back, trash_pb2.TrashItem, ann)
    assert (await c.get(id, bob)).id == id and await c.listed(bob) == {id}


async def test_shares_follow_a_merge_and_go_back(company: Make) -> None:
    c = await company()
    bob, cy = [await c.person(name) for name in ("Bob", "Cy")]
    one, two = await c.customer(), await c.customer()
    await c.share(one, READ, person_id=str(bob.person_id), until_time=soon(days=1))
    await c.share(two, WRITE, person_id=str(bob.person_id))
    await c.share(two, READ, person_id=str(cy.person_id))
    request = merge_service_pb2.MergeCustomersRequest(id=one, merged_ids=[two])
    merge = await c.ask("MergeService/MergeCustomers", request, merge_pb2.Merge)
    now = {share.person_id: share for share in (await c.get(one)).shares}
    assert now[str(bob.person_id)].access == WRITE and not now[str(bob.person_id)].HasField("until_time")
    assert await c.listed(bob) == {one} == await c.listed(cy)
    merged = await refused(Code.NOT_FOUND, "CUSTOMER_MERGED", c.get(two, cy))
    assert merged.metadata["survivorId"] == one
    undo = merge_service_pb2.UndoMergeRequest(id=merge.id)
    await c.ask("MergeService/UndoMerge", undo, merge_pb2.Merge)
    assert await c.listed(bob) == {one, two}
    assert await c.listed(cy) == {two}
    await refused(Code.PERMISSION_DENIED, "RECORD_READ_ONLY", c.rename(one, "x", bob))
    assert (await c.rename(two, "y", bob)).display_name == "y"


async def test_segments_exports_and_duplicates_honour_shares(company: Make) -> None:
    c = await company()
    ann, bob = [await c.person(name) for name in ("Ann", "Bob")]
    bob = replace(bob, rights={**bob.rights, "exports": Rights(Reach.ALL, Reach.ALL)})
    id, hidden = (
        await c.customer(ann, "广州白云电器", tax_number="91440101"),
        await c.customer(ann, "广州白云机场"),
    )
    contact = await c.contact(id, "赵敏")
    await c.share(id, who=ann, person_id=str(bob.person_id))
    segment = segment_pb2.Segment(display_name="Mine", kind=segment_pb2.SEGMENT_KIND_STATIC)
    request = segment_service_pb2.CreateSegmentRequest(segment=segment)
    made = await c.ask("SegmentService/CreateSegment", request, segment_pb2.Segment, bob)
    add = segment_service_pb2.AddSegmentCustomersRequest(id=made.id, customer_ids=[id])
    await c.ask("SegmentService/AddSegmentCustomers", add, segment_pb2.Segment, bob)
    add = segment_service_pb2.AddSegmentCustomersRequest(id=made.id, customer_ids=[hidden])
    unseen = c.ask("SegmentService/AddSegmentCustomers", add, segment_pb2.Segment, bob)
    await refused(Code.INVALID_ARGUMENT, "CUSTOMER_NOT_FOUND", unseen)
    inside = segment_service_pb2.ListSegmentCustomersRequest(id=made.id)
    page = await c.ask(
        "SegmentService/ListSegmentCustomers", inside, segment_service_pb2.ListSegmentCustomersResponse, bob
    )
    assert [one.id for one in page.customers] == [id]
    check = duplicate_service_pb2.CheckCustomerDuplicatesRequest(
        customer=customer_pb2.Customer(display_name="白云电器", tax_number="91440101")
    )
    answer = duplicate_pb2.CustomerDuplicates
    found = await c.ask("DuplicateService/CheckCustomerDuplicates", check, answer, bob)
    assert [one.customer.id for one in found.duplicates] == [id]
    alike = duplicate_service_pb2.CheckContactDuplicatesRequest(
        contact=contact_pb2.Contact(customer_id=id, display_name="赵敏")
    )
    answer = duplicate_pb2.ContactDuplicates
    found = await c.ask("DuplicateService/CheckContactDuplicates", alike, answer, bob)
    assert [one.contact.id for one in found.duplicates] == [contact]
    export = exports_pb2.CreateExportRequest(record_type="customer", format=exports_pb2.EXPORT_FORMAT_CSV)
    method = "kehu.customers.v1.ExportService/CreateExport"
    parts = await c.other.parts(bob, method, export, exports_pb2.ExportPart)
    content = b"".join(part.content for part in parts).decode()
    assert "广州白云电器" in content and "广州白云机场" not in content


async def test_the_rule_is_one_in_every_form(company: Make) -> None:
    """Rows of all kinds, callers of all kinds: what Get lets somebody read is what List shows, and what a query of the session
    and a row at hand say, for reading and for writing."""
    from sqlalchemy import select
    from sqlmodel import col

    from chassis.principal import Act
    from chassis.visibility import Shares, covers, visible, visible_text
    from customers.customer import Customer

    c = await company()
    teams = [await c.team(name) for name in ("A", "B")]
    people = [await c.person(f"P{n}", team) for n, team in enumerate(("", teams[0], teams[0], teams[1]))]
    chance = random.Random(7)
    for _ in range(30):
        id = await c.customer(chance.choice(people))
        for _ in range(chance.randrange(3)):
            to: dict[str, Any] = (
                {"team_id": chance.choice(teams)}
                if chance.random() < 0.4
                else {"person_id": str(chance.choice(people).person_id)}
            )
            until = {"until_time": soon(hours=1)} if chance.random() < 0.3 else {}
            await c.share(id, chance.choice((READ, WRITE)), **to, **until)
    database = c.other.running.database
    callers = [
        replace(person, rights={"customers": Rights(reach, reach)}, team_ids=teams_of)
        for person in people
        for reach in Reach
        for teams_of in ({person.team_ids} | {person.team_ids | people[-1].team_ids})
    ]
    every: Sequence[Customer] = ()
    for who in callers:
        for act in Act:
            rule, values = visible_text(
                who, "customers", act, "owner_id", "team_id", first=1, shares=Shares("customer")
            )
            rows = await database.read(who, "SELECT t.id FROM customers t WHERE " + rule, *values)
            async with database.transaction(who) as tx:
                every = (await tx.session.execute(select(Customer))).scalars().all()
                seen = select(col(Customer.id)).where(visible(Customer, who, "customers", act))
                asked = set((await tx.session.execute(seen)).scalars())
            told = {row.id for row in every if covers(row, who, "customers", act)}
            assert {row["id"] for row in rows} == asked == told, (who, act)
        if who.reach("customers", Act.READ):
            assert await c.listed(who) == {
                str(row.id) for row in every if covers(row, who, "customers", Act.READ)
            }
