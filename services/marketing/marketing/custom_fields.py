"""Campaigns have fields of the tenant's own; what these may refer to."""

from chassis.custom_fields.switch import CustomFields, asking, own, people
from marketing.campaign import Campaign

CUSTOM_FIELDS = CustomFields(
    Campaign,
    references={
        "campaign": own(Campaign, "campaigns"),
        "customer": asking("kehu.customers.v1.CustomerService/LookUpCustomers", "customers"),
        "person": people,
    },
)
