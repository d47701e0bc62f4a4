"""What a tenant offers for fields of its records: values with names in Chinese and English, ordered, retired and never lost.

A service switches lists on in a few lines. `install_value_lists()` stands in a migration, once a database, and::

    # leads/value_lists.py
    VALUE_LISTS = ValueLists(
        ListKind("source", "来源", "Source", (offered("web", "网站", "Web"), ...), used=(Used("leads", "source"),)),
        ...
    )

    # service.py
    faces=[..., value_lists_face("kehu.leads.v1.ValueListService", VALUE_LISTS)],
    publishes={..., ValueListUpdated: events.ValueListUpdated},
    history: {"value_list": Kept(ValueList, None)}

    # the use cases, for a list that a written field has
    lists = await VALUE_LISTS.within(tx)
    key = lists.key("source", written, present, "lead.source")

Lists that a tenant has not changed need no row: they are what the service says.
"""
