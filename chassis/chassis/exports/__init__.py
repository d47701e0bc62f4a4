"""How a service lets its lists go out as files.

Declaring it, in the service's `rpc/exports.py`::

    EXPORTS = Exports(
        Exporter(
            LEADS,                                       # the Listing: what can be filtered and searched, and who sees what
            "Leads", "线索",                             # the file's name
            (
                Column("name", "Name", "姓名", "name"),
                Choice("status", "Status", "状态", "status", {"NEW": ("New", "新线索"), ...}),
                Amount("estimatedAmount", "Estimated amount", "预计金额", "estimated_amount"),
                Person("owner", "Owner", "负责人", "owner_id"),
            ),
            importer=IMPORTER,                           # what an import takes back
        ),
    )

in `service.py`: `faces=[..., export_face("kehu.leads.v1.ExportService", EXPORTS)]`, and `install_export_tables()` and
`extend_export_tables()` in the migration. Custom fields come by themselves where the listing has them.

A list that belongs to one record has `of`, the kind of that record, `kind`, its own, and `rows`, which looks for the parent with
the call it is given: that reaches no further than the right to export. A `card` makes a third format, `chassis.exports.cards`.
Lists that do not go out stand with the reason in `tests/journeys/test_exported_lists.py`.
"""
