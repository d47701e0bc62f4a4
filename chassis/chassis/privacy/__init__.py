"""What a service holds about one person: found, handed out as a file, and taken out. Any service has it in a few lines.

A service declares for each table of records which columns are about a person and by which it is found::

    PRIVACY = Privacy(
        Holding(
            Order, about={"customer_id": "customer", "contact_id": "contact"}, names=("customer_name",),
            texts=("delivery_address", "notes"), keeps="BUSINESS_RECORD", notices={"OPEN_ORDER": is_open},
        ),
        ...,
        others={"products": "names of things"},               # tables with such columns that are about no person
    )

    privacy_face("kehu.sales.v1.PrivacyService", PRIVACY)     # in the composition; install_privacy_tables() in a migration

Declared columns are emptied. What else stands in the service's database and is tied to the person, by one of its ids, numbers or
addresses, is found in all tables there are, whoever made them (`sweep`): history, events sent and waiting, answers kept for
repeats, imports, free text. `python -m checks` refuses tables with columns that look personal and are not declared.
"""
