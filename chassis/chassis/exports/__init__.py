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

in `service.py`: `faces=[..., export_face("kehu.leads.v1.ExportService", EXPORTS)]`, and `install_export_tables()` in the
migration. Custom fields come by themselves where the listing has them.
"""
