"""Notes and files on customers, contacts, competitors and segments. What is on a partner is on its customer."""

from chassis.subjects import Subject, Subjects
from customers.affiliation import writable_contact
from customers.rpc.competitors import COMPETITORS
from customers.rpc.contacts import CONTACTS
from customers.rpc.customers import CUSTOMERS
from customers.rpc.segments import SEGMENTS

SUBJECTS = Subjects(
    Subject(CUSTOMERS),
    Subject(CONTACTS, writable=writable_contact),
    Subject(COMPETITORS),
    Subject(SEGMENTS),
)
