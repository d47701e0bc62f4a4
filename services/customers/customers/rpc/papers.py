"""Notes and files on customers and contacts."""

from chassis.subjects import Subject, Subjects
from customers.affiliation import writable_contact
from customers.rpc.contacts import CONTACTS
from customers.rpc.customers import CUSTOMERS

SUBJECTS = Subjects(Subject(CUSTOMERS), Subject(CONTACTS, writable=writable_contact))
