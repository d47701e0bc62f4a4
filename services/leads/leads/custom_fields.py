"""Leads have fields of the tenant's own; what these may refer to."""

from chassis.custom_fields.switch import CustomFields, asking, own, people
from leads.lead import Lead

CUSTOM_FIELDS = CustomFields(
    Lead,
    references={
        "lead": own(Lead, "leads"),
        "customer": asking("kehu.customers.v1.CustomerService/LookUpCustomers", "customers"),
        "person": people,
    },
)
