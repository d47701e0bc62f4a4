"""What customers refuses, by reason."""

from collections.abc import Sequence

from chassis.errors import AlreadyExists, Conflict, Invalid, NotFound, Precondition


class CustomerHasChildren(Precondition):
    reason = "CUSTOMER_HAS_CHILDREN"

    def __init__(self) -> None:
        super().__init__("Other customers belong to this one: move them first.")


class CustomerTouched(Conflict):
    reason = "CUSTOMER_TOUCHED"

    def __init__(self, what: Sequence[str] = ()) -> None:
        """`what` was added, if that is known."""
        super().__init__(
            f"Somebody has worked with the customer since it was created: it has {', '.join(what)}."
            if what
            else "Somebody has changed the customer, or added something to it, since it was created."
        )


class ContactTouched(Conflict):
    reason = "CONTACT_TOUCHED"

    def __init__(self, what: Sequence[str]) -> None:
        super().__init__(
            f"Somebody has worked with the contact since it was created: it has {', '.join(what)}."
        )


class CustomerCircle(Precondition):
    reason = "CUSTOMER_CIRCLE"

    def __init__(self) -> None:
        super().__init__("A customer cannot belong to itself, neither directly nor through others.")


class ContactCircle(Precondition):
    reason = "CONTACT_CIRCLE"

    def __init__(self) -> None:
        super().__init__("A contact cannot report to themselves, neither directly nor through others.")


class SegmentByRule(Precondition):
    reason = "SEGMENT_BY_RULE"

    def __init__(self) -> None:
        super().__init__(
            "Customers come into this segment by its rule: change the rule, or use a static segment."
        )


class SegmentFull(Precondition):
    reason = "SEGMENT_FULL"

    def __init__(self) -> None:
        super().__init__("The segment would have more customers than a static one can: use one by rule.")


class SegmentRuleBroken(Precondition):
    reason = "SEGMENT_RULE_BROKEN"

    def __init__(self, why: str) -> None:
        super().__init__(f"The segment's rule no longer fits: {why}")


def segment_name_taken() -> AlreadyExists:
    """Another segment has the name."""
    return AlreadyExists("SEGMENT_NAME_TAKEN", "another segment has this name", field="segment.displayName")


def customer_not_found(field: str, id: object) -> Invalid:
    """The customer named does not exist, or the caller may not change it."""
    return Invalid(field, f"there is no customer {id}, or you may not change it", reason="CUSTOMER_NOT_FOUND")


def superior_not_found(field: str) -> Invalid:
    """The superior is no contact of the same customer, or the contact itself."""
    return Invalid(field, "is no other contact of the same customer", reason="SUPERIOR_NOT_FOUND")


class AffiliationPrimary(Precondition):
    reason = "AFFILIATION_PRIMARY"

    def __init__(self) -> None:
        super().__init__(
            "This is the contact's primary customer: make another the primary one first, or delete the contact."
        )


class TooManyAffiliations(Precondition):
    reason = "TOO_MANY_AFFILIATIONS"

    def __init__(self) -> None:
        super().__init__("A contact belongs to at most 20 customers.")


def relation_exists() -> AlreadyExists:
    """The customers are related in this way already, or the child belongs to another parent."""
    return AlreadyExists(
        "RELATION_EXISTS",
        "the customers are related in this way already, or the child belongs to another",
        field="relation.toCustomerId",
    )


def partner_already() -> AlreadyExists:
    """The customer is a partner."""
    return AlreadyExists("PARTNER_ALREADY", "the customer is a partner already", field="partner.customerId")


def competitor_name_taken() -> AlreadyExists:
    """Another competitor has the name."""
    return AlreadyExists(
        "COMPETITOR_NAME_TAKEN", "another competitor has this name", field="competitor.displayName"
    )


def external_key_taken() -> AlreadyExists:
    """Another record has the external key."""
    return AlreadyExists("EXTERNAL_KEY_TAKEN", "another record has this key already", field="externalKey")


def primary_contact_taken() -> AlreadyExists:
    """The customer has a primary contact, which became it a moment ago."""
    return AlreadyExists(
        "PRIMARY_CONTACT_TAKEN", "another contact has just become the customer's primary one"
    )


def id_taken() -> AlreadyExists:
    """A client chose an id that is in use."""
    return AlreadyExists("ID_TAKEN", "a record with this id exists already")


class CardAlreadyBlocked(Precondition):
    reason = "CARD_BLOCKED"

    def __init__(self) -> None:
        super().__init__("The card is blocked already.")


class CardNotBlocked(Precondition):
    reason = "CARD_NOT_BLOCKED"

    def __init__(self) -> None:
        super().__init__("The card is not blocked.")


class CardNotActive(Precondition):
    reason = "CARD_NOT_ACTIVE"

    def __init__(self, state: str) -> None:
        super().__init__(
            f"The card is {state.lower()}: its points cannot be used.", metadata={"state": state}
        )


class PointsInsufficient(Precondition):
    reason = "POINTS_INSUFFICIENT"

    def __init__(self, balance: int) -> None:
        super().__init__(f"The card has {balance} points.", metadata={"balance": str(balance)})


class PointsTooMany(Precondition):
    reason = "POINTS_TOO_MANY"

    def __init__(self) -> None:
        super().__init__("The card would have more points than can be counted.")


class OrderCancelled(Precondition):
    reason = "ORDER_CANCELLED"

    def __init__(self) -> None:
        super().__init__("The order is cancelled: nothing can be paid for it.")


class LevelInUse(Precondition):
    reason = "LEVEL_IN_USE"

    def __init__(self, name: str) -> None:
        super().__init__(f"Members have the level '{name}': change its threshold instead.")


def card_number_taken() -> AlreadyExists:
    """A card has the number, or had it before it was replaced."""
    return AlreadyExists("CARD_NUMBER_TAKEN", "another card has this number, or had it", field="number")


def card_held_already() -> AlreadyExists:
    """The customer has a card."""
    return AlreadyExists("CARD_HELD_ALREADY", "the customer has a card already", field="card.customerId")


def customer_mismatch() -> Invalid:
    """An order of one customer cannot be paid with the points of another."""
    return Invalid("orderId", "is an order of another customer", reason="CUSTOMER_MISMATCH")


class NotAPerson(Precondition):
    reason = "NOT_A_PERSON"

    def __init__(self) -> None:
        super().__init__("The customer is a company: name one of its contacts.")


class MergeKindsDiffer(Precondition):
    reason = "MERGE_KINDS_DIFFER"

    def __init__(self) -> None:
        super().__init__("A company and a consumer cannot be one.")


class CustomerInTrash(Precondition):
    reason = "CUSTOMER_IN_TRASH"

    def __init__(self) -> None:
        super().__init__("The contact's customer is in the trash, or emptied: restore it first.")


class MergeUndone(Precondition):
    reason = "MERGE_UNDONE"

    def __init__(self) -> None:
        super().__init__("The merge was undone already.")


class MergeTooOld(Precondition):
    reason = "MERGE_TOO_OLD"

    def __init__(self) -> None:
        super().__init__("A merge can be undone for 30 days.")


class MergeSurvivorGone(Precondition):
    reason = "MERGE_SURVIVOR_GONE"

    def __init__(self) -> None:
        super().__init__("The survivor was deleted, or merged itself, since: undo that first.")


class ImportGaveAway(Precondition):
    """An import has given a customer to somebody: that is not undone."""

    reason = "MOVED_ON"

    def __init__(self) -> None:
        super().__init__("The import has given the customer to another owner: give it back yourself.")


def merged(kind: str, id: object, survivor_id: object) -> NotFound:
    """The record went into another."""
    problem = NotFound(kind, id)
    problem.reason = f"{kind.upper()}_MERGED"
    problem.message = f"The {kind} was merged with another one, {survivor_id}."
    problem.metadata = {"survivorId": str(survivor_id)}
    return problem
