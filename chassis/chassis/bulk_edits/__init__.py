"""One change of many records at once: looked at before, done in the background, undone afterwards.

A service switches it on in a few lines. `install_bulk_edits()` stands in a migration, once a database, and::

    # rpc/bulk_edits.py
    BULK_EDITS = BulkEdits(
        Editor(
            CUSTOMERS, Customer, "kehu.customers.v1.CustomerService/UpdateCustomer", customer_values,
            begin=at_once(change_customer, assign),         # the use cases of updating and of assigning one record
            custom_fields=CUSTOM_FIELDS,
            progressed=BulkEditProgressed,
        ),
    )

    # service.py
    faces=[..., bulk_edits_face("kehu.customers.v1.BulkEditService", BULK_EDITS)],
    jobs={**BULK_EDITS.jobs, ...},
    publishes={..., BulkEditProgressed: events.BulkEditProgressed},

What can be changed is what the record's Update method may change; who may, whoever may change that record. What else a service
lets people do to many records at once are its editor's `actions`: each is a method of the record that has the same name.
"""
