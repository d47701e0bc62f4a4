"""What leads refuses, by reason."""

from chassis.errors import AlreadyExists, Conflict, Invalid, Precondition


class LeadWithoutName(Invalid):
    reason = "LEAD_WITHOUT_NAME"

    def __init__(self) -> None:
        super().__init__("lead.name", "a lead needs a name or a company name")


class LeadConverting(Conflict):
    reason = "LEAD_CONVERTING"

    def __init__(self) -> None:
        super().__init__("The lead is being converted now: wait until that has ended.", retry_after=2.0)


class LeadConverted(Precondition):
    reason = "LEAD_CONVERTED"

    def __init__(self) -> None:
        super().__init__("The lead has become a customer and can no longer be changed.")


class LeadNotAssignable(Precondition):
    reason = "LEAD_NOT_ASSIGNABLE"


class LeadNotContactable(Precondition):
    reason = "LEAD_NOT_CONTACTABLE"


class LeadNotQualifiable(Precondition):
    reason = "LEAD_NOT_QUALIFIABLE"


class LeadNotDisqualifiable(Precondition):
    reason = "LEAD_NOT_DISQUALIFIABLE"


class LeadNotDisqualified(Precondition):
    reason = "LEAD_NOT_DISQUALIFIED"


class LeadNotConvertible(Precondition):
    reason = "LEAD_NOT_CONVERTIBLE"


def external_key_taken() -> AlreadyExists:
    """Another lead has the external key."""
    return AlreadyExists("EXTERNAL_KEY_TAKEN", "another lead has this key already", field="lead.externalKey")


def id_taken() -> AlreadyExists:
    """A client chose an id that is in use."""
    return AlreadyExists("ID_TAKEN", "a record with this id exists already")
