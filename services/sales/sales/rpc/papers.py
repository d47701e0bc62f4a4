"""Notes and files on opportunities, activities, orders and products. Of those on orders and products others hear by rights of
their own."""

from dataclasses import dataclass

from chassis.attachments.attachment import AttachmentCreated, AttachmentDeleted
from chassis.notes.note import NoteCreated, NoteDeleted, NoteUpdated
from chassis.subjects import Subject, Subjects
from sales.rpc.activities import ACTIVITIES
from sales.rpc.opportunities import OPPORTUNITIES
from sales.rpc.orders import ORDERS
from sales.rpc.products import PRODUCTS


@dataclass(frozen=True, kw_only=True)
class OrderNoteCreated(NoteCreated):
    pass


@dataclass(frozen=True, kw_only=True)
class OrderNoteUpdated(NoteUpdated):
    pass


@dataclass(frozen=True, kw_only=True)
class OrderNoteDeleted(NoteDeleted):
    pass


@dataclass(frozen=True, kw_only=True)
class OrderAttachmentCreated(AttachmentCreated):
    pass


@dataclass(frozen=True, kw_only=True)
class OrderAttachmentDeleted(AttachmentDeleted):
    pass


@dataclass(frozen=True, kw_only=True)
class ProductNoteCreated(NoteCreated):
    pass


@dataclass(frozen=True, kw_only=True)
class ProductNoteUpdated(NoteUpdated):
    pass


@dataclass(frozen=True, kw_only=True)
class ProductNoteDeleted(NoteDeleted):
    pass


@dataclass(frozen=True, kw_only=True)
class ProductAttachmentCreated(AttachmentCreated):
    pass


@dataclass(frozen=True, kw_only=True)
class ProductAttachmentDeleted(AttachmentDeleted):
    pass


_OF_ORDERS: dict[type, type] = {
    NoteCreated: OrderNoteCreated, NoteUpdated: OrderNoteUpdated, NoteDeleted: OrderNoteDeleted,
    AttachmentCreated: OrderAttachmentCreated, AttachmentDeleted: OrderAttachmentDeleted,
}  # fmt: skip

_OF_PRODUCTS: dict[type, type] = {
    NoteCreated: ProductNoteCreated, NoteUpdated: ProductNoteUpdated, NoteDeleted: ProductNoteDeleted,
    AttachmentCreated: ProductAttachmentCreated, AttachmentDeleted: ProductAttachmentDeleted,
}  # fmt: skip

SUBJECTS = Subjects(
    Subject(OPPORTUNITIES),
    Subject(ACTIVITIES),
    Subject(ORDERS, events=_OF_ORDERS),
    Subject(PRODUCTS, events=_OF_PRODUCTS),
)
