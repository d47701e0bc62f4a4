"""Which records have fields of the tenant's own, and what these may refer to."""

from chassis.custom_fields.switch import CustomFields, asking, own, people
from sales.activity import Activity
from sales.opportunity import Opportunity
from sales.order import Order
from sales.product import Product

CUSTOM_FIELDS = CustomFields(
    Product,
    Opportunity,
    Activity,
    Order,
    references={
        "product": own(Product, "products"),
        "opportunity": own(Opportunity, "opportunities"),
        "activity": own(Activity, "opportunities"),
        "order": own(Order, "orders"),
        "customer": asking("kehu.customers.v1.CustomerService/LookUpCustomers", "customers"),
        "person": people,
    },
)
