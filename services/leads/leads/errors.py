"""What leads refuses, by reason."""

from collections.abc import Sequence
from datetime import datetime

from chassis.errors import AlreadyExists, Conflict, Denied, Invalid, Precondition


class LeadWithoutName(Invalid):
    reason = "LEAD_WITHOUT_NAME"

    def __init__(self) -> None:
        super().__init__("lead.name", "a lead needs a name or a company name")


class LeadTouched(Conflict):
    reason = "LEAD_TOUCHED"

    def __init__(self, what: Sequence[str]) -> None:
        super().__init__(f"Somebody has worked with the lead since it was created: it has {', '.join(what)}.")


class NotesFull(Invalid):
    reason = "NOTES_FULL"

    def __init__(self, length: int, room: int) -> None:
        super().__init__(
            "note",
            f"has {length} characters, and the lead's notes have room for {room}: shorten the notes first",
        )


class LeadConverting(Conflict):
    reason = "LEAD_CONVERTING"

    def __init__(self) -> None:
        super().__init__("The lead is being converted now: wait until that has ended.", retry_after=2.0)


class LeadConverted(Precondition):
    reason = "LEAD_CONVERTED"

    def __init__(self) -> None:
        super().__init__("The lead has become a customer and can no longer be changed.")


class LeadGoneElsewhere(Precondition):
    reason = "LEAD_GONE_ELSEWHERE"

    def __init__(self) -> None:
        super().__init__("The lead went into another one, or is known to be a customer: add it there.")


class LeadWentElsewhere(Precondition):
    """It was a duplicate before it was opened again."""

    reason = "LEAD_WENT_ELSEWHERE"

    def __init__(self) -> None:
        super().__init__("The lead had gone into another one, or to a customer: merge or attach it anew.")


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


class LeadNotPending(Precondition):
    reason = "LEAD_NOT_PENDING"

    def __init__(self) -> None:
        super().__init__("The lead was given without asking, or not to be accepted any longer.")


class LeadNotYours(Denied):
    reason = "LEAD_NOT_YOURS"

    def __init__(self) -> None:
        super().__init__("Only its owner may do that with a lead.")


class LeadNotReturnable(Precondition):
    reason = "LEAD_NOT_RETURNABLE"


class LeadNotInPool(Precondition):
    reason = "LEAD_NOT_IN_POOL"

    def __init__(self) -> None:
        super().__init__("The lead is not in the pool: it is not open, or somebody has it.")


class ClaimLimitReached(Precondition):
    reason = "CLAIM_LIMIT_REACHED"

    def __init__(self, open_leads: int, limit: int) -> None:
        super().__init__(f"You have {open_leads} open leads; with {limit} no more can be claimed.")


class ClaimTooSoon(Precondition):
    reason = "CLAIM_TOO_SOON"

    def __init__(self, until: datetime) -> None:
        super().__init__(f"The lead was yours: you may claim it back from {until:%Y-%m-%d %H:%M} UTC on.")


class CadenceNotStartable(Precondition):
    reason = "CADENCE_NOT_STARTABLE"


class LeadWithoutCadence(Precondition):
    reason = "LEAD_WITHOUT_CADENCE"

    def __init__(self) -> None:
        super().__init__("The lead is on no cadence.")


class CadenceInUse(Precondition):
    reason = "CADENCE_IN_USE"

    def __init__(self, leads: int) -> None:
        super().__init__(
            f"{leads} leads are on the cadence: make it inactive, and delete it when they are through."
        )


class StepNotProposed(Conflict):
    reason = "STEP_NOT_PROPOSED"

    def __init__(self, asked: int, proposed: int) -> None:
        super().__init__(f"Step {asked} was reported, step {proposed} is proposed: read the lead again.")


class RulesChanged(Conflict):
    reason = "RULES_CHANGED"

    def __init__(self) -> None:
        super().__init__("The rules of assignment have just changed: ask again.", retry_after=0.1)


class ImportGaveAway(Precondition):
    """An import has given a lead to somebody: that is not undone."""

    reason = "MOVED_ON"

    def __init__(self) -> None:
        super().__init__("The import has given the lead to another owner: give it back yourself.")


def default_rule_exists() -> AlreadyExists:
    """The tenant has a default rule of assignment."""
    return AlreadyExists("DEFAULT_RULE_EXISTS", "there is a default rule already", field="rule.defaultRule")


class LeadNotMergeable(Precondition):
    reason = "LEAD_NOT_MERGEABLE"


class MergeUndone(Precondition):
    reason = "MERGE_UNDONE"

    def __init__(self) -> None:
        super().__init__("The merge was undone already.")


class MergeTooOld(Precondition):
    reason = "MERGE_TOO_OLD"

    def __init__(self) -> None:
        super().__init__("The merge is older than 30 days and can no longer be undone.")


class MergeSurvivorGone(Precondition):
    reason = "MERGE_SURVIVOR_GONE"

    def __init__(self) -> None:
        super().__init__("The lead that remained was deleted, converted or merged itself since.")
