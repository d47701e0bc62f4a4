"""Lists as people like to see them, by name: which records, which columns, in which order.

A service switches them on in a few lines. `install_saved_views()` stands in a migration, once a database, and::

    # rpc/saved_views.py
    SAVED_VIEWS = SavedViews(Viewed(CUSTOMERS, customer_pb2.Customer), Viewed(CONTACTS, contact_pb2.Contact))

    # service.py
    faces=[..., saved_views_face("kehu.customers.v1.SavedViewService", SAVED_VIEWS)],
    publishes={..., SavedViewCreated: events.SavedViewCreated, SavedViewUpdated: …, SavedViewDeleted: …},
    constraints={..., "saved_views_name": name_taken},
    history: {"saved_view": Kept(SavedView, None, SAVED_VIEWS.seen)}

What a view may say is what its listing understands: fields, custom fields and order are those of the `Listing`, columns those
of the record's message.
"""
