"""The marketing service: campaigns, whom they reach, and public forms that make leads."""

from pathlib import Path

from kehu.marketing.v1 import events_pb2 as events

from chassis.attachments.attachment import AttachmentCreated, AttachmentDeleted
from chassis.attachments.rpc import attachment_face, attachments_kept
from chassis.attachments.upkeep import ATTACHMENT_COMMANDS, ATTACHMENT_JOBS
from chassis.custom_fields.field import (
    CustomField,
    CustomFieldCreated,
    CustomFieldDeleted,
    CustomFieldUpdated,
    key_taken,
)
from chassis.custom_fields.rpc import custom_fields_face
from chassis.exports.rpc import export_face
from chassis.history_face import Kept, history_face
from chassis.notes.note import NoteCreated, NoteDeleted, NoteUpdated
from chassis.notes.rpc import note_face, notes_kept
from chassis.privacy.rpc import privacy_face
from chassis.service import Service
from marketing import attribution, audience, campaign, errors, facet, form, member, merged, submission
from marketing.custom_fields import CUSTOM_FIELDS
from marketing.listens import SUBSCRIPTIONS
from marketing.privacy import PRIVACY
from marketing.rpc import audiences, campaigns, members, submissions
from marketing.rpc.exports import EXPORTS
from marketing.rpc.papers import SUBJECTS

SERVICE = Service(
    name="marketing",
    faces=[
        campaigns.face,
        members.face,
        audiences.face,
        submissions.face,  # the face of forms, with what strangers send
        facet.face,
        export_face("kehu.marketing.v1.ExportService", EXPORTS),
        note_face("kehu.marketing.v1.NoteService", SUBJECTS),
        attachment_face("kehu.marketing.v1.AttachmentService", SUBJECTS),
        custom_fields_face("kehu.marketing.v1.CustomFieldService", CUSTOM_FIELDS),
        privacy_face("kehu.marketing.v1.PrivacyService", PRIVACY),
        history_face(
            "kehu.marketing.v1.HistoryService",
            {
                "campaign": Kept(campaign.Campaign, "campaigns"),
                "campaign_member": Kept(member.CampaignMember, "campaigns"),
                "campaign_audience": Kept(audience.CampaignAudience, "campaigns"),
                "web_form": Kept(form.WebForm, "campaigns"),
                "note": notes_kept(SUBJECTS),
                "attachment": attachments_kept(SUBJECTS),
                "custom_field": Kept(CustomField, None),
            },
        ),
    ],
    migrations=Path(__file__).parent / "migrations",
    publishes={
        campaign.CampaignCreated: events.CampaignCreated,
        campaign.CampaignUpdated: events.CampaignUpdated,
        campaign.CampaignStarted: events.CampaignStarted,
        campaign.CampaignCompleted: events.CampaignCompleted,
        campaign.CampaignCancelled: events.CampaignCancelled,
        campaign.CampaignDeleted: events.CampaignDeleted,
        member.MemberAdded: events.MemberAdded,
        member.MemberResponded: events.MemberResponded,
        member.MemberRemoved: events.MemberRemoved,
        audience.AudienceEnded: events.AudienceEnded,
        form.FormCreated: events.FormCreated,
        form.FormUpdated: events.FormUpdated,
        form.FormDeleted: events.FormDeleted,
        submission.FormSubmitted: events.FormSubmitted,
        attribution.LeadAttributed: events.LeadAttributed,
        NoteCreated: events.NoteCreated,
        NoteUpdated: events.NoteUpdated,
        NoteDeleted: events.NoteDeleted,
        AttachmentCreated: events.AttachmentCreated,
        AttachmentDeleted: events.AttachmentDeleted,
        CustomFieldCreated: events.CustomFieldCreated,
        CustomFieldUpdated: events.CustomFieldUpdated,
        CustomFieldDeleted: events.CustomFieldDeleted,
    },
    subscriptions=SUBSCRIPTIONS,
    jobs={
        **merged.CUSTOMERS.jobs,
        **merged.CONTACTS.jobs,
        **merged.LEADS.jobs,
        **CUSTOM_FIELDS.jobs,
        **ATTACHMENT_JOBS,
        audience.TAKE: audiences.take_audience,
    },
    commands={**ATTACHMENT_COMMANDS},
    constraints={
        "campaigns_external_key": errors.external_key_taken,
        "custom_fields_key": key_taken,
        "members_lead": errors.member_exists,
        "members_customer": errors.member_exists,
        "campaigns_pkey": errors.id_taken,
        "campaign_members_pkey": errors.id_taken,
        "campaign_audiences_pkey": errors.id_taken,
        "web_forms_pkey": errors.id_taken,
    },
)
