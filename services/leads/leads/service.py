"""The leads service: from capture to conversion."""

from pathlib import Path

from kehu.leads.v1 import events_pb2 as events

from chassis.custom_fields.field import CustomField, key_taken
from chassis.custom_fields.rpc import custom_fields_face
from chassis.exports.rpc import export_face
from chassis.history_face import Kept, history_face
from chassis.imports.progress import ImportProgressed
from chassis.imports.rpc import import_face
from chassis.service import Service
from leads import conversion, errors, facet, lead, lead_events, listens, merged
from leads.absence import Absence
from leads.assignment import AssignmentRule
from leads.cadence import Cadence
from leads.custom_fields import CUSTOM_FIELDS
from leads.handling import LeadHandling, LeadHandlingUpdated
from leads.imports import IMPORTS
from leads.rpc import absences, assignments, cadences, pool, scores
from leads.rpc.conversions import conversion_job
from leads.rpc.exports import EXPORTS
from leads.rpc.jobs import JOBS
from leads.score import ScoreRule

SERVICE = Service(
    name="leads",
    faces=[
        pool.face,
        assignments.face,
        absences.face,
        cadences.face,
        scores.face,
        facet.face,
        import_face("kehu.leads.v1.ImportService", IMPORTS),
        export_face("kehu.leads.v1.ExportService", EXPORTS),
        history_face(
            "kehu.leads.v1.HistoryService",
            {
                "lead": Kept(lead.Lead, "leads"),
                "absence": Kept(Absence, "leads"),
                "assignment_rule": Kept(AssignmentRule, "settings"),
                "cadence": Kept(Cadence, "leads"),
                "score_rule": Kept(ScoreRule, "leads"),
                "lead_handling": Kept(LeadHandling, "leads"),
                "custom_field": Kept(CustomField, None),
            },
        ),
        custom_fields_face("kehu.leads.v1.CustomFieldService", CUSTOM_FIELDS),
    ],
    migrations=Path(__file__).parent / "migrations",
    publishes={
        lead_events.LeadCreated: events.LeadCreated,
        lead_events.LeadUpdated: events.LeadUpdated,
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
        LeadHandlingUpdated: events.LeadHandlingUpdated,
        ImportProgressed: events.ImportProgressed,
    },
    subscriptions=listens.SUBSCRIPTIONS,
    jobs={
        conversion.JOB: conversion_job,
        **JOBS,
        **IMPORTS.jobs,
        **CUSTOM_FIELDS.jobs,
        **merged.CUSTOMERS.jobs,
        **merged.CONTACTS.jobs,
    },
    constraints={
        "leads_external_key": errors.external_key_taken,
        "leads_pkey": errors.id_taken,
        "custom_fields_key": key_taken,
        "assignment_rules_default": errors.default_rule_exists,
    },
)
