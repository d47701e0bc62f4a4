"""Which records have fields of the tenant's own, and what these may refer to."""

from chassis.custom_fields.switch import CustomFields, own, people
from customers.contact import Contact
from customers.customer import Customer

CUSTOM_FIELDS = CustomFields(
    Customer,
    Contact,
    references={
        "customer": own(Customer, "customers"),
        "contact": own(Contact, "customers"),
        "person": people,
    },
)
