"""Whoever keeps something about persons says so: columns that look personal stand in a service's declaration.

Read from the catalog of a freshly migrated database, as `databases.py` does. What is declared is handed out and taken out, see
`chassis.privacy`; what is not would be found by nobody who asks for a person's data.
"""

import importlib
import re
from typing import Any

from kehu_local.composition import Member

PERSONAL = re.compile(
    r"(^|_)(names?|phones?|mobile|emails?|mail|address(es)?|birthday|im_account|accounts?|requester|street"
    r"|notes?|remarks?|comments?|reasons?|descriptions?|messages?|body)(_|$)|^text$"
)
"""Names of columns that look as if they told of somebody, or as if anything could be written there."""
OUR_OWN = {
    "identity": "the people who work with the suite, whose employer answers for them",
}
"""Services that know no other persons, and whom they know."""
OF_THE_CHASSIS = {
    "jobs": "who asked, of our own people; what else stands there is swept",
    "history": "who changed something, of our own people; the changes are swept",
    "exports": "who took a list, of our own people",
    "import_runs": "who began it, and a file's name; samples of the file are swept",
    "custom_fields": "names of fields",
    "custom_references": "which field of which table names which record",
    "value_lists": "names of lists",
    "bulk_edits": "what was wanted of records, with its reason and note, and why one failed: all of it is swept",
    "bulk_edit_records": "why a record was left, in our own words, which are swept",
    "import_effects": "why a line was refused; what it said of a person is swept",
    "dead_letters": "why an event was refused; the event is swept",
    "merged_records": "swept: the name that a record had when it was merged",
}
"""Tables that every service may have, and why nothing of them is declared."""

_COLUMNS = """
SELECT c.relname AS name, a.attname AS held FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
    AND format_type(a.atttypid, NULL) IN ('text', 'text[]', 'jsonb', 'date', 'bytea', 'character varying') ORDER BY 1, 2
"""


async def faults(connection: Any, member: Member) -> list[str]:
    """Columns of that service's database that look personal and are declared nowhere."""
    if member.domain in OUR_OWN:
        return []
    try:
        privacy: Any = importlib.import_module(f"{member.module}.privacy").PRIVACY
    except ModuleNotFoundError:
        privacy = None
    declared: dict[str, set[str]] = {}
    others: set[str] = set()
    if privacy is not None:
        declared = {one.table_name: one.personal | set(one.swept) for one in privacy.holdings}
        others = set(privacy.others)
    wrong: list[str] = []
    for row in await connection.fetch(_COLUMNS):
        table, column = row["name"], row["held"]
        known = table in OF_THE_CHASSIS or table in others or column in declared.get(table, ())
        if PERSONAL.search(column) and not known:
            wrong.append(
                f"database of {member.domain}: {table}.{column} looks personal: declare it in {member.module}/privacy.py, as a"
                " holding's column, or the table among the others with the reason why it tells of nobody"
            )
    return wrong
