"""The leads service: from capture to conversion."""

from pathlib import Path

from kehu.leads.v1 import events_pb2 as events

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
from chassis.privacy.rpc import privacy_face
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
from leads import (
    absence,
    assignment,
    cadence,
    conversion,
    errors,
    facet,
    lead,
    lead_events,
    listens,
    mail_capture,
    merged,
    merging,
    score,
)
from leads.custom_fields import CUSTOM_FIELDS
from leads.handling import LeadHandling, LeadHandlingUpdated
from leads.privacy import PRIVACY
from leads.rpc import absences, assignments, cadences, cleaning, mail_captures, pool, scores, searches
from leads.rpc.bulk_edits import BULK_EDITS
from leads.rpc.conversions import conversion_job
from leads.rpc.duplicate_sweeps import DUPLICATES
from leads.rpc.exports import EXPORTS
from leads.rpc.imports import IMPORTS
from leads.rpc.jobs import JOBS
from leads.rpc.papers import SUBJECTS
from leads.rpc.saved_views import SAVED_VIEWS
from leads.value_lists import VALUE_LISTS

SERVICE = Service(
    name="leads",
    faces=[
        pool.face,
        assignments.face,
        absences.face,
        cadences.face,
        scores.face,
        cleaning.face,
        mail_captures.face,
        facet.face,
        bulk_edits_face("kehu.leads.v1.BulkEditService", BULK_EDITS),
        sweeps_face("kehu.leads.v1.DuplicateSweepService", DUPLICATES),
        pairs_face("kehu.leads.v1.DuplicatePairService", DUPLICATES),
        saved_views_face("kehu.leads.v1.SavedViewService", SAVED_VIEWS),
        searches.face,
        import_face("kehu.leads.v1.ImportService", IMPORTS),
        export_face("kehu.leads.v1.ExportService", EXPORTS),
        note_face("kehu.leads.v1.NoteService", SUBJECTS),
        attachment_face("kehu.leads.v1.AttachmentService", SUBJECTS),
        history_face(
            "kehu.leads.v1.HistoryService",
            {
                "lead": Kept(lead.Lead, "leads"),
                "absence": Kept(absence.Absence, "leads"),
                "assignment_rule": Kept(assignment.AssignmentRule, "settings"),
                "cadence": Kept(cadence.Cadence, "leads"),
                "score_rule": Kept(score.ScoreRule, "leads"),
                "mail_capture": Kept(mail_capture.MailCapture, "settings"),
                "lead_merge": Kept(merging.LeadMerge, "leads"),
                "lead_handling": Kept(LeadHandling, "leads"),
                "saved_view": Kept(SavedView, None, seen=SAVED_VIEWS.check_history),
                "note": notes_kept(SUBJECTS),
                "attachment": attachments_kept(SUBJECTS),
                "custom_field": Kept(CustomField, None),
                "value_list": Kept(ValueList, None),
            },
        ),
        custom_fields_face("kehu.leads.v1.CustomFieldService", CUSTOM_FIELDS),
        value_lists_face("kehu.leads.v1.ValueListService", VALUE_LISTS),
        privacy_face("kehu.leads.v1.PrivacyService", PRIVACY),
    ],
    migrations=Path(__file__).parent / "migrations",
    publishes={
        lead_events.LeadCreated: events.LeadCreated,
        lead_events.LeadUpdated: events.LeadUpdated,
        lead_events.LeadCaptured: events.LeadCaptured,
        lead_events.LeadMerged: events.LeadMerged,
        lead_events.LeadUnmerged: events.LeadUnmerged,
        mail_capture.MailCaptureFailed: events.MailCaptureFailed,
        mail_capture.MailSetAside: events.MailSetAside,
        lead_events.LeadAssigned: events.LeadAssigned,
        lead_events.LeadContacted: events.LeadContacted,
        lead_events.LeadQualified: events.LeadQualified,
        lead_events.LeadDisqualified: events.LeadDisqualified,
        lead_events.LeadReopened: events.LeadReopened,
        lead_events.LeadConverted: events.LeadConverted,
        lead_events.LeadDeleted: events.LeadDeleted,
        lead_events.LeadAccepted: events.LeadAccepted,
        lead_events.LeadReturned: events.LeadReturned,
        lead_events.LeadReclaimWarned: events.LeadReclaimWarned,
        lead_events.LeadReclaimed: events.LeadReclaimed,
        lead_events.LeadCadenceStarted: events.LeadCadenceStarted,
        lead_events.LeadCadenceStepReported: events.LeadCadenceStepReported,
        lead_events.LeadCadenceStopped: events.LeadCadenceStopped,
        lead_events.LeadContactDue: events.LeadContactDue,
        NoteCreated: events.NoteCreated,
        NoteUpdated: events.NoteUpdated,
        NoteDeleted: events.NoteDeleted,
        AttachmentCreated: events.AttachmentCreated,
        AttachmentDeleted: events.AttachmentDeleted,
        LeadHandlingUpdated: events.LeadHandlingUpdated,
        assignment.AssignmentRuleCreated: events.AssignmentRuleCreated,
        assignment.AssignmentRuleUpdated: events.AssignmentRuleUpdated,
        assignment.AssignmentRuleDeleted: events.AssignmentRuleDeleted,
        absence.AbsenceCreated: events.AbsenceCreated,
        absence.AbsenceDeleted: events.AbsenceDeleted,
        cadence.CadenceCreated: events.CadenceCreated,
        cadence.CadenceUpdated: events.CadenceUpdated,
        cadence.CadenceDeleted: events.CadenceDeleted,
        score.ScoreRuleCreated: events.ScoreRuleCreated,
        score.ScoreRuleUpdated: events.ScoreRuleUpdated,
        score.ScoreRuleDeleted: events.ScoreRuleDeleted,
        mail_capture.MailCaptureCreated: events.MailCaptureCreated,
        mail_capture.MailCaptureUpdated: events.MailCaptureUpdated,
        mail_capture.MailCaptureDeleted: events.MailCaptureDeleted,
        CustomFieldCreated: events.CustomFieldCreated,
        CustomFieldUpdated: events.CustomFieldUpdated,
        CustomFieldDeleted: events.CustomFieldDeleted,
        BulkEditProgressed: events.BulkEditProgressed,
        DuplicateSweepProgressed: events.DuplicateSweepProgressed,
        SavedViewCreated: events.SavedViewCreated,
        SavedViewUpdated: events.SavedViewUpdated,
        SavedViewDeleted: events.SavedViewDeleted,
        ImportProgressed: events.ImportProgressed,
        ValueListUpdated: events.ValueListUpdated,
    },
    subscriptions=listens.SUBSCRIPTIONS,
    jobs={
        conversion.JOB: conversion_job,
        **JOBS,
        **mail_captures.JOBS,
        **IMPORTS.jobs,
        **CUSTOM_FIELDS.jobs,
        **BULK_EDITS.jobs,
        **DUPLICATES.jobs,
        **ATTACHMENT_JOBS,
        **merged.CUSTOMERS.jobs,
        **merged.CONTACTS.jobs,
        **merged.LEADS.jobs,
    },
    commands={**ATTACHMENT_COMMANDS},
    constraints={
        "leads_external_key": errors.external_key_taken,
        "leads_pkey": errors.id_taken,
        "lead_captures_pkey": errors.id_taken,
        "custom_fields_key": key_taken,
        "saved_views_name": name_taken,
        "assignment_rules_default": errors.default_rule_exists,
    },
)
