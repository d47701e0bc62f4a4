"""What sales refuses, by reason."""

from collections.abc import Sequence
from decimal import Decimal

from chassis.errors import AlreadyExists, Conflict, Invalid, Precondition
from chassis.money import Money, digits


class OpportunityClosed(Precondition):
    reason = "OPPORTUNITY_CLOSED"

    def __init__(self, status: str) -> None:
        super().__init__(f"The opportunity is {status}: reopen it first.")


class OpportunityOpen(Precondition):
    reason = "OPPORTUNITY_OPEN"

    def __init__(self) -> None:
        super().__init__("The opportunity is open already.")


class ActivityTouched(Conflict):
    reason = "ACTIVITY_TOUCHED"

    def __init__(self, what: Sequence[str]) -> None:
        super().__init__(
            f"Somebody has worked with the activity since it was created: it has {', '.join(what)}."
        )


class OpportunityTouched(Conflict):
    reason = "OPPORTUNITY_TOUCHED"

    def __init__(self, what: Sequence[str]) -> None:
        super().__init__(
            f"Somebody has worked with the opportunity since it was created: it has {', '.join(what)}."
        )


class ProductTouched(Conflict):
    reason = "PRODUCT_TOUCHED"

    def __init__(self, what: Sequence[str]) -> None:
        super().__init__(
            f"Somebody has worked with the product since it was created: it has {', '.join(what)}."
        )


class OpportunityHasOrders(Precondition):
    reason = "OPPORTUNITY_HAS_ORDERS"

    def __init__(self) -> None:
        super().__init__("Orders name this opportunity: cancel or delete them first.")


class StageInUse(Precondition):
    reason = "STAGE_IN_USE"

    def __init__(self, name: str) -> None:
        super().__init__(f"Open opportunities are in the stage '{name}': move them first.")


class ProductInUse(Precondition):
    reason = "PRODUCT_IN_USE"

    def __init__(self) -> None:
        super().__init__("Opportunities or orders name this product: retire it instead.")


class ActivityNotPlanned(Precondition):
    reason = "ACTIVITY_NOT_PLANNED"

    def __init__(self, status: str) -> None:
        super().__init__(f"The activity is {status}, no longer planned.")


class OrderNotDraft(Precondition):
    reason = "ORDER_NOT_DRAFT"

    def __init__(self, status: str) -> None:
        super().__init__(f"The order is {status}, no longer a draft.")


class OrderWithoutLines(Precondition):
    reason = "ORDER_WITHOUT_LINES"

    def __init__(self) -> None:
        super().__init__("An order needs a line to be placed.")


class OrderNotCancellable(Precondition):
    reason = "ORDER_NOT_CANCELLABLE"

    def __init__(self, status: str) -> None:
        super().__init__(
            f"Only a placed order of which nothing was delivered can be cancelled; it is {status}."
        )


class OrderNotDeliverable(Precondition):
    reason = "ORDER_NOT_DELIVERABLE"

    def __init__(self, status: str) -> None:
        super().__init__(f"Only placed and partly delivered orders can be delivered; it is {status}.")


class DeliveryExceedsOrder(Precondition):
    reason = "DELIVERY_EXCEEDS_ORDER"

    def __init__(self, product: str, outstanding: str) -> None:
        super().__init__(f"Of {product} only {outstanding} is outstanding.")


class OrderNotPayable(Precondition):
    reason = "ORDER_NOT_PAYABLE"

    def __init__(self, status: str) -> None:
        super().__init__(f"Money is received for orders that were placed; it is {status}.")


class ReceiptExceedsOrder(Precondition):
    reason = "RECEIPT_EXCEEDS_ORDER"

    def __init__(self, unpaid: Money) -> None:
        amount = Decimal(unpaid.minor).scaleb(-digits(unpaid.currency))
        super().__init__(f"Of the order only {amount:f} {unpaid.currency} is unpaid.")


def stage_not_found(field: str) -> Invalid:
    """The pipeline has no such stage."""
    return Invalid(field, "is no stage of the pipeline", reason="STAGE_NOT_FOUND")


def product_not_found(field: str) -> Invalid:
    """There is no such product, or it is retired."""
    return Invalid(field, "there is no such product, or it is retired", reason="PRODUCT_NOT_FOUND")


def customer_not_found(field: str, id: object) -> Invalid:
    """There is no such customer for the caller."""
    return Invalid(field, f"there is no customer {id}, or you may not see it", reason="CUSTOMER_NOT_FOUND")


def competitor_not_found(field: str, id: object) -> Invalid:
    """There is no such competitor for the caller."""
    return Invalid(
        field, f"there is no competitor {id}, or you may not see it", reason="COMPETITOR_NOT_FOUND"
    )


def customer_mismatch(field: str) -> Invalid:
    """The opportunity belongs to another customer."""
    return Invalid(field, "is of another customer", reason="CUSTOMER_MISMATCH")


def opportunity_not_found(field: str) -> Invalid:
    """There is no such opportunity for the caller."""
    return Invalid(
        field, "there is no such opportunity, or you may not see it", reason="OPPORTUNITY_NOT_FOUND"
    )


def external_key_taken() -> AlreadyExists:
    """Another record has the external key."""
    return AlreadyExists("EXTERNAL_KEY_TAKEN", "another record has this key already", field="externalKey")


def product_name_taken() -> AlreadyExists:
    """Another product has the name."""
    return AlreadyExists("PRODUCT_NAME_TAKEN", "another product has this name already", field="product.name")


def sku_taken() -> AlreadyExists:
    """Another product has the article number."""
    return AlreadyExists("SKU_TAKEN", "another product has this article number already", field="product.sku")


def id_taken() -> AlreadyExists:
    """A client chose an id that is in use."""
    return AlreadyExists("ID_TAKEN", "a record with this id exists already")


class ImportMovedOn(Precondition):
    """An import has moved an opportunity on, ended an activity, or given one of them to another: that is not undone."""

    reason = "MOVED_ON"

    def __init__(self, how: str) -> None:
        super().__init__(f"The import has {how}: that stays, change it yourself.")
