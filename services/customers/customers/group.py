"""A customer with all that belong to it, added up from what is kept of each: within the reach of who asks."""

from customers.reports import MEMBERS_OF

# Customers below one that may not be read are found through it.
_SEEN = """
WITH RECURSIVE family AS (
    SELECT id, 0 AS depth FROM customers WHERE id = $1
    UNION ALL
    SELECT c.id, f.depth + 1 FROM family f JOIN customers c ON c.parent_customer_id = f.id WHERE c.deleted_at IS NULL
), seen AS MATERIALIZED (
    SELECT f.depth, t.id, t.display_name, t.external_key, t.kind, t.owner_id, t.team_id, t.parent_customer_id
    FROM family f JOIN customers t ON t.id = f.id WHERE t.deleted_at IS NULL AND {rule}
)
"""

MEMBERS = (
    _SEEN  # noqa: S608 (constants)
    + "SELECT s.*, coalesce(v.order_count, 0) AS order_count, (SELECT count(*) FROM contacts c WHERE c.deleted_at IS NULL"
    " AND c.id IN (" + MEMBERS_OF.replace("{}", "s.id") + ")) AS contact_count"
    " FROM (SELECT *, count(*) OVER () AS all_of_them FROM seen WHERE depth > 0 ORDER BY depth, display_name, id LIMIT $2) s"
    " LEFT JOIN customer_values v ON v.customer_id = s.id ORDER BY s.depth, s.display_name, s.id"
)
"""The first $2 customers below customer $1, level by level. {rule} begins with $3."""

SUMS = (
    _SEEN  # noqa: S608 (constants)
    + """
SELECT (SELECT count(*) FROM seen) AS customers,
    (SELECT coalesce(sum(v.order_count), 0)::bigint FROM seen s JOIN customer_values v ON v.customer_id = s.id) AS orders,
    (SELECT count(*) FROM (
        SELECT c.id FROM seen s JOIN contacts c ON c.customer_id = s.id WHERE c.deleted_at IS NULL
        UNION SELECT a.contact_id FROM seen s JOIN contact_affiliations a ON a.customer_id = s.id
    ) AS one) AS contacts,
    (SELECT coalesce(jsonb_agg(to_jsonb(m) ORDER BY m.currency), '[]') FROM (
        SELECT a.currency, sum(a.order_count)::bigint AS order_count, sum(a.revenue)::bigint AS revenue,
            sum(a.potential)::bigint AS potential, sum(a.margin)::bigint AS margin,
            sum(a.costed_revenue)::bigint AS costed_revenue
        FROM seen s JOIN customer_amounts a ON a.customer_id = s.id GROUP BY a.currency
    ) AS m) AS amounts
"""
)
"""All of the group of customer $1 in one row. {rule} begins with $2."""
