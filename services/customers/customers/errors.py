"""What customers refuses, by reason."""

from chassis.errors import AlreadyExists, Conflict, Invalid, Precondition


class CustomerHasChildren(Precondition):
    reason = "CUSTOMER_HAS_CHILDREN"

    def __init__(self) -> None:
        super().__init__("Other customers belong to this one: move them first.")


class CustomerTouched(Conflict):
    reason = "CUSTOMER_TOUCHED"

    def __init__(self) -> None:
        super().__init__("Somebody has changed the customer, or added something to it, since it was created.")


class CustomerCircle(Precondition):
    reason = "CUSTOMER_CIRCLE"

    def __init__(self) -> None:
        super().__init__("A customer cannot belong to itself, neither directly nor through others.")


class ContactCircle(Precondition):
    reason = "CONTACT_CIRCLE"

    def __init__(self) -> None:
        super().__init__("A contact cannot report to themselves, neither directly nor through others.")


def customer_not_found(field: str, id: object) -> Invalid:
    """The customer named does not exist, or the caller may not change it."""
    return Invalid(field, f"there is no customer {id}, or you may not change it", reason="CUSTOMER_NOT_FOUND")


def superior_not_found() -> Invalid:
    """The superior is no contact of the same customer."""
    return Invalid("contact.reportsToId", "is no contact of the same customer", reason="SUPERIOR_NOT_FOUND")


def external_key_taken() -> AlreadyExists:
    """Another record has the external key."""
    return AlreadyExists("EXTERNAL_KEY_TAKEN", "another record has this key already", field="externalKey")


def id_taken() -> AlreadyExists:
    """A client chose an id that is in use."""
    return AlreadyExists("ID_TAKEN", "a record with this id exists already")
