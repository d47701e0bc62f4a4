"""Tickets have fields of the tenant's own; what these may refer to."""

from chassis.custom_fields.switch import CustomFields, asking, own, people
from service_desk.ticket import Ticket

CUSTOM_FIELDS = CustomFields(
    Ticket,
    references={
        "ticket": own(Ticket, "tickets"),
        "customer": asking("kehu.customers.v1.CustomerService/LookUpCustomers", "customers"),
        "person": people,
    },
)
