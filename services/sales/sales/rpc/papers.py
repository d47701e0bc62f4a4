"""Notes and files on opportunities and orders. Of those on orders others hear by another right."""

from dataclasses import dataclass

from chassis.attachments.attachment import AttachmentCreated, AttachmentDeleted
from chassis.notes.note import NoteCreated, NoteDeleted, NoteUpdated
from chassis.subjects import Subject, Subjects
from sales.rpc.opportunities import OPPORTUNITIES
from sales.rpc.orders import ORDERS


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


_OF_ORDERS: dict[type, type] = {
    NoteCreated: OrderNoteCreated, NoteUpdated: OrderNoteUpdated, NoteDeleted: OrderNoteDeleted,
    AttachmentCreated: OrderAttachmentCreated, AttachmentDeleted: OrderAttachmentDeleted,
}  # fmt: skip

SUBJECTS = Subjects(Subject(OPPORTUNITIES), Subject(ORDERS, events=_OF_ORDERS))
