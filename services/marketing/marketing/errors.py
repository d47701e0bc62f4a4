"""What marketing refuses, by reason."""

from chassis.errors import AlreadyExists, Denied, Exhausted, Invalid, Precondition


class EndBeforeStart(Invalid):
    reason = "END_BEFORE_START"

    def __init__(self) -> None:
        super().__init__("campaign.endDate", "is before the first day")


class CampaignNotPlanned(Precondition):
    reason = "CAMPAIGN_NOT_PLANNED"


class CampaignNotRunning(Precondition):
    reason = "CAMPAIGN_NOT_RUNNING"


class CampaignEnded(Precondition):
    reason = "CAMPAIGN_ENDED"


class CampaignHasOpenForms(Precondition):
    reason = "CAMPAIGN_HAS_OPEN_FORMS"

    def __init__(self) -> None:
        super().__init__("Open web forms name this campaign: close them or give them another campaign first.")


class CampaignGone(Precondition):
    reason = "CAMPAIGN_DELETED"

    def __init__(self) -> None:
        super().__init__("The form's campaign was deleted: give the form another one or none first.")


def campaign_not_found(field: str, id: object) -> Invalid:
    """A campaign that the caller may not use so."""
    return Invalid(field, f"there is no campaign {id} that you may use here", reason="CAMPAIGN_NOT_FOUND")


class MemberAmbiguous(Invalid):
    reason = "MEMBER_AMBIGUOUS"

    def __init__(self) -> None:
        super().__init__("campaignMember.leadId", "name either a lead or a customer, and not both")


def lead_not_found(id: object) -> Invalid:
    """A lead that the caller cannot read."""
    return Invalid(
        "campaignMember.leadId", f"there is no lead {id} that you may see", reason="LEAD_NOT_FOUND"
    )


def customer_not_found(id: object) -> Invalid:
    """A customer that the caller cannot read."""
    return Invalid(
        "campaignMember.customerId",
        f"there is no customer {id} that you may see",
        reason="CUSTOMER_NOT_FOUND",
    )


def contact_not_found(id: object) -> Invalid:
    """A contact that the caller cannot read, or of another customer."""
    return Invalid(
        "campaignMember.contactId", f"the customer has no contact {id}", reason="CONTACT_NOT_FOUND"
    )


def segment_not_found(id: object) -> Invalid:
    """A segment that the caller cannot read."""
    return Invalid(
        "campaignAudience.segmentId",
        f"there is no segment {id} that you may see",
        reason="SEGMENT_NOT_FOUND",
    )


class FormWithoutName(Invalid):
    reason = "FORM_WITHOUT_NAME"

    def __init__(self) -> None:
        super().__init__("webForm.fields", "one field must fill the lead's name or company name")


class FormClosed(Precondition):
    reason = "FORM_CLOSED"

    def __init__(self) -> None:
        super().__init__("This form is closed.")


class OriginNotAllowed(Denied):
    reason = "ORIGIN_NOT_ALLOWED"

    def __init__(self) -> None:
        super().__init__("This form may not be sent from this site.")


class TooManySubmissions(Exhausted):
    reason = "TOO_MANY_SUBMISSIONS"

    def __init__(self, what: str, retry_after: float) -> None:
        super().__init__(f"Too many forms were sent {what}: wait a minute.", retry_after=retry_after)


def external_key_taken() -> AlreadyExists:
    """Another campaign has the external key."""
    return AlreadyExists(
        "EXTERNAL_KEY_TAKEN", "another campaign has this key already", field="campaign.externalKey"
    )


def member_exists() -> AlreadyExists:
    """The campaign has this lead or customer."""
    return AlreadyExists("MEMBER_EXISTS", "the campaign has this member already")


def id_taken() -> AlreadyExists:
    """A client chose an id that is in use."""
    return AlreadyExists("ID_TAKEN", "a record with this id exists already")
