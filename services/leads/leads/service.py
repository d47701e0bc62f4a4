"""The leads service: from capture to conversion."""

from pathlib import Path

from kehu.leads.v1 import events_pb2 as events

from chassis.custom_fields.field import CustomField, key_taken
from chassis.custom_fields.rpc import custom_fields_face
from chassis.history_face import Kept, history_face
from chassis.imports.rpc import import_face
from chassis.service import Service
from leads import conversion, errors, facet, handling, lead
from leads.custom_fields import CUSTOM_FIELDS
from leads.imports import IMPORTS
from leads.rpc import absences, assignments, cadences, pool, scores
from leads.rpc.conversions import conversion_job
from leads.rpc.jobs import JOBS

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
        history_face(
            "kehu.leads.v1.HistoryService",
            {"lead": Kept(lead.Lead, "leads"), "custom_field": Kept(CustomField, None)},
        ),
        custom_fields_face("kehu.leads.v1.CustomFieldService", CUSTOM_FIELDS),
    ],
    migrations=Path(__file__).parent / "migrations",
    publishes={
        lead.LeadCreated: events.LeadCreated,
        lead.LeadUpdated: events.LeadUpdated,
        lead.LeadAssigned: events.LeadAssigned,
        lead.LeadContacted: events.LeadContacted,
        lead.LeadQualified: events.LeadQualified,
        lead.LeadDisqualified: events.LeadDisqualified,
        lead.LeadReopened: events.LeadReopened,
        lead.LeadConverted: events.LeadConverted,
        lead.LeadDeleted: events.LeadDeleted,
        lead.LeadAccepted: events.LeadAccepted,
        lead.LeadReturned: events.LeadReturned,
        lead.LeadReclaimWarned: events.LeadReclaimWarned,
        lead.LeadReclaimed: events.LeadReclaimed,
        lead.LeadCadenceStarted: events.LeadCadenceStarted,
        lead.LeadCadenceStepReported: events.LeadCadenceStepReported,
        lead.LeadCadenceStopped: events.LeadCadenceStopped,
        lead.LeadContactDue: events.LeadContactDue,
        handling.LeadHandlingUpdated: events.LeadHandlingUpdated,
    },
    jobs={conversion.JOB: conversion_job, **JOBS, **IMPORTS.jobs, **CUSTOM_FIELDS.jobs},
    constraints={
        "leads_external_key": errors.external_key_taken,
        "leads_pkey": errors.id_taken,
        "custom_fields_key": key_taken,
        "assignment_rules_default": errors.default_rule_exists,
    },
)
