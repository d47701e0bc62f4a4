"""Fields that a tenant adds to a kind of record: typed, filterable, in history, events and imports.

A service switches them on in a few lines. The record's class is `Customized` and its table has the column
(`install_custom_fields("leads", ordered=True)` in a migration, once a database; `add_custom_fields("contacts")` for further
tables); its message has `map<string, google.protobuf.Value> custom_fields`, which `chassis.mapping.Mapping` reads and writes;
and::

    # leads/custom_fields.py
    CUSTOM_FIELDS = CustomFields(Lead, references={"lead": own(Lead, "leads"), "person": people})

    # service.py
    faces=[..., custom_fields_face("kehu.leads.v1.CustomFieldService", CUSTOM_FIELDS)], jobs={**CUSTOM_FIELDS.jobs, ...},
    publishes={..., CustomFieldCreated: events.CustomFieldCreated, CustomFieldUpdated: …, CustomFieldDeleted: …},
    constraints={..., "custom_fields_key": key_taken}, history: {"custom_field": Kept(CustomField, None)}

    # rpc: references in requests are looked up before the transaction begins
    face = Face("kehu.leads.v1.LeadService", custom_fields=CUSTOM_FIELDS)
    LEADS = Listing(Lead, ..., custom_fields=True)

    # the use cases, where `values` are what the caller wrote, by column
    values = await taken(tx, Lead, values)              # for a new record
    values = await taken(tx, Lead, values, lead)        # for a change

    # imports.py
    Importer(record_type="lead", ..., custom_fields=True)

References to records that may be merged follow these where `install_custom_references("leads")` stands in a migration (and
`add_custom_references` for further tables) and the service's `Following` is told of them, see `chassis.following`.

History, events (`changed_fields`, by `chassis.mapping.change`) and the index follow by themselves.
"""

from chassis.custom_fields.given import Given

__all__ = ["Given"]
