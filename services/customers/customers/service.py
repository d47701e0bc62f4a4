"""The customers service: who we know, and the people there."""

from pathlib import Path

from kehu.customers.v1 import events_pb2 as events

from chassis.custom_fields.field import CustomField, key_taken
from chassis.custom_fields.rpc import custom_fields_face
from chassis.exports.rpc import export_face
from chassis.history_face import Kept, history_face
from chassis.imports.progress import ImportProgressed
from chassis.imports.rpc import import_face
from chassis.service import Service
from chassis.value_lists.rpc import value_lists_face
from chassis.value_lists.value_list import ValueList, ValueListUpdated
from customers import contact, customer, errors, facet, relation, trash
from customers.custom_fields import CUSTOM_FIELDS
from customers.imports import IMPORTS
from customers.listens import SUBSCRIPTIONS
from customers.merging import merge
from customers.points import audit, cards, ledger, night, programme
from customers.rpc import (
    contacts,
    customers,
    duplicates,
    membership,
    merges,
    points,
    relations,
    segments,
    values,
)
from customers.rpc import trash as trash_face
from customers.rpc.exports import EXPORTS
from customers.segments import segment
from customers.value import rebuild, review
from customers.value_lists import VALUE_LISTS

SERVICE = Service(
    name="customers",
    faces=[
        customers.face,
        contacts.face,
        membership.face,
        points.face,
        values.face,
        segments.face,
        relations.face,
        duplicates.face,
        merges.face,
        trash_face.face,
        facet.face,
        import_face("kehu.customers.v1.ImportService", IMPORTS),
        export_face("kehu.customers.v1.ExportService", EXPORTS),
        history_face(
            "kehu.customers.v1.HistoryService",
            {
                "customer": Kept(customer.Customer, "customers"),
                "contact": Kept(contact.Contact, "customers"),
                "card": Kept(cards.Card, "customers"),
                "programme": Kept(programme.Programme, "customers"),
                "segment": Kept(segment.Segment, "customers"),
                "merge": Kept(merge.Merge, "customers"),
                "relation": Kept(relation.CustomerRelation, "customers"),
                "custom_field": Kept(CustomField, None),
                "value_list": Kept(ValueList, None),
            },
        ),
        custom_fields_face("kehu.customers.v1.CustomFieldService", CUSTOM_FIELDS),
        value_lists_face("kehu.customers.v1.ValueListService", VALUE_LISTS),
    ],
    migrations=Path(__file__).parent / "migrations",
    publishes={
        ImportProgressed: events.ImportProgressed,
        customer.CustomerCreated: events.CustomerCreated,
        customer.CustomerUpdated: events.CustomerUpdated,
        customer.CustomerAssigned: events.CustomerAssigned,
        customer.CustomerDeleted: events.CustomerDeleted,
        contact.ContactCreated: events.ContactCreated,
        contact.ContactUpdated: events.ContactUpdated,
        contact.ContactDeleted: events.ContactDeleted,
        merge.CustomerMerged: events.CustomerMerged,
        merge.CustomerUnmerged: events.CustomerUnmerged,
        merge.ContactMerged: events.ContactMerged,
        merge.ContactUnmerged: events.ContactUnmerged,
        trash.CustomerRestored: events.CustomerRestored,
        trash.ContactRestored: events.ContactRestored,
        relation.RelationCreated: events.RelationCreated,
        relation.RelationUpdated: events.RelationUpdated,
        relation.RelationDeleted: events.RelationDeleted,
        programme.ProgrammeUpdated: events.ProgrammeUpdated,
        cards.CardIssued: events.CardIssued,
        cards.CardBlocked: events.CardBlocked,
        cards.CardUnblocked: events.CardUnblocked,
        cards.CardReplaced: events.CardReplaced,
        cards.CardRenewed: events.CardRenewed,
        cards.CardExpired: events.CardExpired,
        cards.CardLevelChanged: events.CardLevelChanged,
        ledger.PointsEarned: events.PointsEarned,
        ledger.PointsTakenBack: events.PointsTakenBack,
        ledger.PointsRedeemed: events.PointsRedeemed,
        ledger.PointsGivenBack: events.PointsGivenBack,
        ledger.PointsExpired: events.PointsExpired,
        ledger.PointsAdjusted: events.PointsAdjusted,
        segment.SegmentCreated: events.SegmentCreated,
        segment.SegmentUpdated: events.SegmentUpdated,
        segment.SegmentDeleted: events.SegmentDeleted,
        segment.SegmentCustomersAdded: events.SegmentCustomersAdded,
        segment.SegmentCustomersRemoved: events.SegmentCustomersRemoved,
        ValueListUpdated: events.ValueListUpdated,
    },
    subscriptions=SUBSCRIPTIONS,
    jobs={
        **IMPORTS.jobs,
        **CUSTOM_FIELDS.jobs,
        night.NIGHT: night.spend_night,
        review.REVIEW: review.review_values,
        trash.PURGE: trash.purge,
    },
    commands={"check-points": audit.check_points, "rebuild-values": rebuild.rebuild_values},
    constraints={
        "customers_external_key": errors.external_key_taken,
        "contacts_external_key": errors.external_key_taken,
        "customers_pkey": errors.id_taken,
        "contacts_pkey": errors.id_taken,
        "membership_cards_pkey": errors.id_taken,
        "membership_cards_customer": errors.card_held_already,
        "card_numbers_once": errors.card_number_taken,
        "custom_fields_key": key_taken,
        "segments_pkey": errors.id_taken,
        "segments_name": errors.segment_name_taken,
        "customer_relations_directed": errors.relation_exists,
        "customer_relations_mutual": errors.relation_exists,
    },
)
