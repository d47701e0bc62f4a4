"""What the service desk refuses, by reason."""

from chassis.errors import AlreadyExists, Invalid, Precondition


class TicketClosed(Precondition):
    reason = "TICKET_CLOSED"

    def __init__(self) -> None:
        super().__init__("The ticket is closed: reopen it first.")


class TicketNotPendable(Precondition):
    reason = "TICKET_NOT_PENDABLE"

    def __init__(self, status: str) -> None:
        super().__init__(f"Only a new or open ticket can wait; it is {status}.")


class TicketNotResolvable(Precondition):
    reason = "TICKET_NOT_RESOLVABLE"

    def __init__(self, status: str) -> None:
        super().__init__(f"Only a new, open or pending ticket can be resolved; it is {status}.")


class TicketNotReopenable(Precondition):
    reason = "TICKET_NOT_REOPENABLE"

    def __init__(self, status: str) -> None:
        super().__init__(f"Only a pending, resolved or closed ticket can be reopened; it is {status}.")


class TicketNotRatable(Precondition):
    reason = "TICKET_NOT_RATABLE"

    def __init__(self, status: str) -> None:
        super().__init__(f"Only a resolved or closed ticket can be rated; it is {status}.")


class RatingFixed(Precondition):
    reason = "RATING_FIXED"

    def __init__(self, days: int) -> None:
        super().__init__(f"The rating was given more than {days} days ago and can no longer be changed.")


class TicketNotResolved(Precondition):
    reason = "TICKET_NOT_RESOLVED"

    def __init__(self, status: str) -> None:
        super().__init__(f"Only a resolved ticket can be closed; it is {status}.")


def customer_not_found(id: object) -> Invalid:
    """There is no such customer for the caller."""
    return Invalid(
        "ticket.customerId", f"there is no customer {id}, or you may not see it", reason="CUSTOMER_NOT_FOUND"
    )


def contact_not_found(id: object) -> Invalid:
    """There is no such contact for the caller, or it is another customer's."""
    return Invalid(
        "ticket.contactId",
        f"the customer has no contact {id}, or you may not see it",
        reason="CONTACT_NOT_FOUND",
    )


def contact_without_customer() -> Invalid:
    """A contact is named, but no customer."""
    return Invalid("ticket.contactId", "goes only with a customer", reason="CONTACT_WITHOUT_CUSTOMER")


def use_reply() -> Invalid:
    """A reply is made by its own method, for it answers the customer."""
    return Invalid("kind", "is NOTE or CUSTOMER_MESSAGE: a reply is made by :reply", reason="USE_REPLY")


def external_key_taken() -> AlreadyExists:
    """Another ticket has the external key."""
    return AlreadyExists(
        "EXTERNAL_KEY_TAKEN", "another ticket has this key already", field="ticket.externalKey"
    )


def id_taken() -> AlreadyExists:
    """A client chose an id that is in use."""
    return AlreadyExists("ID_TAKEN", "a record with this id exists already")
