"""The customers service: who we know, and the people there."""

from pathlib import Path

from kehu.customers.v1 import events_pb2 as events

from chassis.history_face import Kept, history_face
from chassis.imports.rpc import import_face
from chassis.service import Service
from customers import contact, customer, errors, facet
from customers.imports import IMPORTS
from customers.listens import SUBSCRIPTIONS
from customers.rpc import contacts, customers

SERVICE = Service(
    name="customers",
    faces=[
        customers.face,
        contacts.face,
        facet.face,
        import_face("kehu.customers.v1.ImportService", IMPORTS),
        history_face(
            "kehu.customers.v1.HistoryService",
            {"customer": Kept(customer.Customer, "customers"), "contact": Kept(contact.Contact, "customers")},
        ),
    ],
    migrations=Path(__file__).parent / "migrations",
    publishes={
        customer.CustomerCreated: events.CustomerCreated,
        customer.CustomerUpdated: events.CustomerUpdated,
        customer.CustomerAssigned: events.CustomerAssigned,
        customer.CustomerDeleted: events.CustomerDeleted,
        contact.ContactCreated: events.ContactCreated,
        contact.ContactUpdated: events.ContactUpdated,
        contact.ContactDeleted: events.ContactDeleted,
    },
    subscriptions=SUBSCRIPTIONS,
    jobs=IMPORTS.jobs,
    constraints={
        "customers_external_key": errors.external_key_taken,
        "contacts_external_key": errors.external_key_taken,
        "customers_pkey": errors.id_taken,
        "contacts_pkey": errors.id_taken,
    },
)
