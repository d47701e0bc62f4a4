"""The customers service: who we know, and the people there."""

from pathlib import Path

from kehu.customers.v1 import events_pb2 as events

from chassis.attachments.attachment import AttachmentCreated, AttachmentDeleted
from chassis.attachments.rpc import attachment_face, attachments_kept
from chassis.attachments.upkeep import ATTACHMENT_COMMANDS, ATTACHMENT_JOBS
from chassis.bulk_edits.edit import BulkEditProgressed
from chassis.bulk_edits.rpc import bulk_edits_face
from chassis.custom_fields.field import (
    CustomField,
    CustomFieldCreated,
    CustomFieldDeleted,
    CustomFieldUpdated,
    key_taken,
)
from chassis.custom_fields.rpc import custom_fields_face
from chassis.duplicates.rpc import pairs_face, sweeps_face
from chassis.duplicates.sweep import DuplicateSweepProgressed
from chassis.exports.rpc import export_face
from chassis.history_face import Kept, history_face
from chassis.imports.progress import ImportProgressed
from chassis.imports.rpc import import_face
from chassis.notes.note import NoteCreated, NoteDeleted, NoteUpdated
from chassis.notes.rpc import note_face, notes_kept
from chassis.saved_views.rpc import saved_views_face
from chassis.saved_views.view import (
    SavedView,
    SavedViewCreated,
    SavedViewDeleted,
    SavedViewUpdated,
    name_taken,
)
from chassis.service import Service
from chassis.value_lists.rpc import value_lists_face
from chassis.value_lists.value_list import ValueList, ValueListUpdated
from customers import (
    competitor,
    contact,
    customer,
    duplicate_rule,
    erasure,
    errors,
    facet,
    partner,
    pool,
    purge,
    relation,
    sharing,
    trash,
)
from customers.custom_fields import CUSTOM_FIELDS
from customers.imports import IMPORTS
from customers.listens import SUBSCRIPTIONS
from customers.merging import merge, referring
from customers.points import audit, cards, ledger, night, programme
from customers.rebuild import rebuild_touches
from customers.rpc import (
    competitors,
    contact_views,
    contacts,
    customers,
    duplicates,
    membership,
    merges,
    partners,
    points,
    privacy,
    relations,
    searches,
    segments,
    transfers,
    values,
)
from customers.rpc import pool as pool_face
from customers.rpc import sharing as sharing_face
from customers.rpc import trash as trash_face
from customers.rpc.bulk_edits import BULK_EDITS
from customers.rpc.duplicate_sweeps import DUPLICATES
from customers.rpc.exports import EXPORTS
from customers.rpc.lead_papers import LEAD_PAPERS, take_over
from customers.rpc.papers import SUBJECTS
from customers.rpc.saved_views import SAVED_VIEWS
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
        partners.face,
        competitors.face,
        privacy.face,
        duplicates.face,
        merges.face,
        trash_face.face,
        sharing_face.face,
        transfers.face,
        pool_face.face,
        contact_views.face,
        facet.face,
        bulk_edits_face("kehu.customers.v1.BulkEditService", BULK_EDITS),
        sweeps_face("kehu.customers.v1.DuplicateSweepService", DUPLICATES),
        pairs_face("kehu.customers.v1.DuplicatePairService", DUPLICATES),
        saved_views_face("kehu.customers.v1.SavedViewService", SAVED_VIEWS),
        searches.face,
        import_face("kehu.customers.v1.ImportService", IMPORTS),
        export_face("kehu.customers.v1.ExportService", EXPORTS),
        note_face("kehu.customers.v1.NoteService", SUBJECTS),
        attachment_face("kehu.customers.v1.AttachmentService", SUBJECTS),
        history_face(
            "kehu.customers.v1.HistoryService",
            {
                "customer": Kept(customer.Customer, "customers"),
                "contact": Kept(
                    contact.Contact,
                    "customers",
                    customer.SHARES_OF_CUSTOMER,
                    through=("contact_affiliations", "contact_id"),
                ),
                "card": Kept(cards.Card, "customers", customer.SHARES_OF_CUSTOMER),
                "programme": Kept(programme.Programme, "customers"),
                "segment": Kept(segment.Segment, "customers"),
                "merge": Kept(merge.Merge, "customers"),
                "relation": Kept(relation.CustomerRelation, None, seen=relations.check_history),
                "saved_view": Kept(SavedView, None, seen=SAVED_VIEWS.check_history),
                "pool_rule": Kept(pool.PoolRule, "settings"),
                "trash_rule": Kept(trash.TrashRule, "settings"),
                "duplicate_rule": Kept(duplicate_rule.DuplicateRule, "customers"),
                "note": notes_kept(SUBJECTS),
                "attachment": attachments_kept(SUBJECTS),
                "partner": Kept(partner.Partner, "customers", customer.SHARES_OF_CUSTOMER),
                "competitor": Kept(competitor.Competitor, "customers"),
                "erasure": Kept(erasure.Erasure, "privacy"),
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
        BulkEditProgressed: events.BulkEditProgressed,
        DuplicateSweepProgressed: events.DuplicateSweepProgressed,
        SavedViewCreated: events.SavedViewCreated,
        SavedViewUpdated: events.SavedViewUpdated,
        SavedViewDeleted: events.SavedViewDeleted,
        customer.CustomerCreated: events.CustomerCreated,
        customer.CustomerUpdated: events.CustomerUpdated,
        customer.CustomerAssigned: events.CustomerAssigned,
        customer.CustomerDeleted: events.CustomerDeleted,
        sharing.CustomerShared: events.CustomerShared,
        sharing.CustomerUnshared: events.CustomerUnshared,
        pool.CustomerReturned: events.CustomerReturned,
        pool.CustomerReturnWarned: events.CustomerReturnWarned,
        pool.PoolRuleUpdated: events.PoolRuleUpdated,
        duplicate_rule.DuplicateRuleUpdated: events.DuplicateRuleUpdated,
        contact.ContactCreated: events.ContactCreated,
        contact.ContactUpdated: events.ContactUpdated,
        contact.ContactDeleted: events.ContactDeleted,
        merge.CustomerMerged: events.CustomerMerged,
        merge.CustomerUnmerged: events.CustomerUnmerged,
        merge.ContactMerged: events.ContactMerged,
        merge.ContactUnmerged: events.ContactUnmerged,
        NoteCreated: events.NoteCreated,
        NoteUpdated: events.NoteUpdated,
        NoteDeleted: events.NoteDeleted,
        AttachmentCreated: events.AttachmentCreated,
        AttachmentDeleted: events.AttachmentDeleted,
        trash.TrashRuleUpdated: events.TrashRuleUpdated,
        trash.CustomerRestored: events.CustomerRestored,
        trash.ContactRestored: events.ContactRestored,
        purge.CustomerPurged: events.CustomerPurged,
        purge.ContactPurged: events.ContactPurged,
        relation.RelationCreated: events.RelationCreated,
        relation.RelationUpdated: events.RelationUpdated,
        relation.RelationDeleted: events.RelationDeleted,
        partner.PartnerCreated: events.PartnerCreated,
        partner.PartnerUpdated: events.PartnerUpdated,
        partner.PartnerDeleted: events.PartnerDeleted,
        erasure.PersonErased: events.PersonErased,
        competitor.CompetitorCreated: events.CompetitorCreated,
        competitor.CompetitorUpdated: events.CompetitorUpdated,
        competitor.CompetitorDeleted: events.CompetitorDeleted,
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
        CustomFieldCreated: events.CustomFieldCreated,
        CustomFieldUpdated: events.CustomFieldUpdated,
        CustomFieldDeleted: events.CustomFieldDeleted,
    },
    subscriptions=SUBSCRIPTIONS,
    jobs={
        **IMPORTS.jobs,
        **CUSTOM_FIELDS.jobs,
        **referring.CUSTOMERS.jobs,
        **referring.CONTACTS.jobs,
        **BULK_EDITS.jobs,
        **DUPLICATES.jobs,
        **ATTACHMENT_JOBS,
        LEAD_PAPERS: take_over,
        night.NIGHT: night.spend_night,
        review.REVIEW: review.review_values,
        trash.PURGE: purge.purge,
        pool.RETURN: pool.return_idle_customers,
        erasure.JOB: privacy.erasure_job,
    },
    commands={
        "check-points": audit.check_points,
        "rebuild-values": rebuild.rebuild_values,
        **ATTACHMENT_COMMANDS,
        "rebuild-touches": rebuild_touches,
    },
    constraints={
        "customers_external_key": errors.external_key_taken,
        "contacts_external_key": errors.external_key_taken,
        "customers_pkey": errors.id_taken,
        "contacts_pkey": errors.id_taken,
        "contacts_one_primary": errors.primary_contact_taken,
        "membership_cards_pkey": errors.id_taken,
        "membership_cards_customer": errors.card_held_already,
        "card_numbers_once": errors.card_number_taken,
        "custom_fields_key": key_taken,
        "saved_views_name": name_taken,
        "segments_pkey": errors.id_taken,
        "segments_name": errors.segment_name_taken,
        "customer_relations_directed": errors.relation_exists,
        "customer_relations_mutual": errors.relation_exists,
        "partners_pkey": errors.id_taken,
        "partners_customer": errors.partner_already,
        "competitors_pkey": errors.id_taken,
        "competitors_name": errors.competitor_name_taken,
    },
)
