"""Who reports to whom at a customer: checked without circles, and told from the top down.

A contact has one superior at each customer it belongs to. Changes of one customer's tree wait for each other at the customer's
row, so that two cannot close a circle together.
"""

from uuid import UUID

from sqlalchemy import text

from chassis.database import Transaction
from customers.errors import ContactCircle, superior_not_found

# Every contact of the customer, with its superior there.
_MEMBERS = (
    "SELECT c.id, c.reports_to_id FROM contacts c WHERE c.customer_id = :customer AND c.deleted_at IS NULL"
    " UNION ALL SELECT a.contact_id, a.reports_to_id FROM contact_affiliations a JOIN contacts c ON c.id = a.contact_id"
    " WHERE a.customer_id = :customer AND c.deleted_at IS NULL"
)
_ABOVE = text(
    "WITH RECURSIVE members AS (" + _MEMBERS + "),"  # noqa: S608 (constants of this file)
    " above AS (SELECT id, reports_to_id FROM members WHERE id = :start"
    " UNION SELECT m.id, m.reports_to_id FROM members m JOIN above a ON m.id = a.reports_to_id)"
    " SELECT id FROM above"
)

MEMBERS_OF = (
    "SELECT c.id FROM contacts c WHERE c.customer_id = {}"
    " UNION ALL SELECT a.contact_id FROM contact_affiliations a WHERE a.customer_id = {}"
)
"""The contacts of a customer, whose id stands for {}."""

CHART = """
WITH RECURSIVE members AS MATERIALIZED (
    SELECT c.id, c.display_name, c.title, c.department, c.decision_role, c.reports_to_id, c."primary", true AS home,
        NULL::jsonb AS affiliations
    FROM contacts c WHERE c.customer_id = $1 AND c.deleted_at IS NULL
    UNION ALL
    SELECT c.id, c.display_name, '', '', '', a.reports_to_id, false, false, c.affiliations
    FROM contact_affiliations a JOIN contacts c ON c.id = a.contact_id
    WHERE a.customer_id = $1 AND c.deleted_at IS NULL
), below AS (
    SELECT reports_to_id AS id, count(*) AS reports FROM members WHERE reports_to_id IS NOT NULL GROUP BY reports_to_id
), tree AS (
    SELECT m.id, 0 AS depth FROM members m
    WHERE m.reports_to_id IS NULL OR NOT EXISTS (SELECT FROM members s WHERE s.id = m.reports_to_id)
    UNION ALL
    SELECT m.id, t.depth + 1 FROM tree t JOIN members m ON m.reports_to_id = t.id
)
SELECT m.*, t.depth, coalesce(b.reports, 0) AS reports, count(*) OVER () AS all_of_them
FROM tree t JOIN members m USING (id) LEFT JOIN below b USING (id)
ORDER BY t.depth, m."primary" DESC, m.display_name, m.id LIMIT $2
"""
"""The first $2 contacts of customer $1, level by level."""


async def check_superior(
    tx: Transaction, contact_id: UUID, customer_id: UUID, superior_id: UUID, field: str
) -> None:
    """The caller holds the customer's row. Raises ContactCircle, and Invalid naming `field` for a superior who is no contact of
    the customer."""
    above = await superiors(tx, customer_id, superior_id)
    if not above:
        raise superior_not_found(field)
    if contact_id in above:
        raise ContactCircle


async def superiors(tx: Transaction, customer_id: UUID, contact_id: UUID) -> set[UUID]:
    """The contact and all who stand above it at that customer; nobody when it is no contact of the customer."""
    with tx.session.no_autoflush:
        found = await tx.session.execute(_ABOVE, {"start": contact_id, "customer": customer_id})
        return {row.id for row in found}
