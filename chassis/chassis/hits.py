"""The ways in which a searched list is read, as SQL.

Ranking every hit of a word that stands in each tenth record would cost more the more records there are, and so would the
index's naming of them. So few hits are ranked (`FEW`), and whether they are few a sample of the records tells
(`chassis.schema`). When they are many, what equals the query comes first (`EXACT`) and a stretch of the list is read in its own
order (`GLANCE`), where such a word soon has a page's worth. When the stretch is not enough, for hits lie together elsewhere in
the list, the first page is made up with hits of the sample (`SHOWN`), and those who leaf on get all others after all, in the
list's order: by a longer stretch of it (`WALK`) and, where that is not enough either, by the index (`MANY`), which costs what
hits there are. Rows that a filter or the rights may hide are found by their hits alone (`RANKED`): a stretch of the list might
hold none of them.

A word of one gram is often a frequent one, and then the list is glanced at before the index is asked.
"""

from enum import Enum, auto

from chassis.search import SHOWN, Query

MOST_RANKED = 500
"""Hits that are ranked one and all."""
STRETCH = 5_000
"""Records that are read of a list behind its first page in search of a page's worth of hits: some milliseconds, which are lost
when hits are rarer than one in a hundred or lie elsewhere in the list."""
GLANCED = 1_000
"""Records that are looked through for the first page: a millisecond."""
PROMISING = 4
"""So many of the first fifth of them are hits, or the others are not looked through: of a word that fills a page from all of
them, ten are there on the average, and less than four once in a hundred times."""
ONE_OF_MANY = 4
"""The rank of a hit that does not equal the query, when hits are many."""
EQUAL = 1


class Way(Enum):
    """Where the rows come from, and what their rank is."""

    LIST = auto()
    RANKED = auto()
    FEW = auto()
    EXACT = auto()
    MANY = auto()
    WALK = auto()
    GLANCE = auto()

    @property
    def stretch(self) -> int:
        """Of how many records of the list hits are picked; 0 when they are found by the index."""
        return {Way.WALK: STRETCH, Way.GLANCE: GLANCED}.get(self, 0)


def source(way: Way, table: str, query: Query, args: list[object], order: str = "", limit: int = 0) -> str:
    """What stands behind FROM, with the table as `t` and the hits as `h`; values are added to `args`. Of few hits only the first
    `limit` are joined when they can be ordered without the table, by this `order`."""
    args += [[query.exact] if way is Way.EXACT else list(query.grams), list(query.words), query.phrase]
    n = len(args)
    hits = f"{table}_search(${n - 2}, ${n - 1}, ${n}, NULL)"
    found, which = hits, ""
    match way:
        case Way.FEW:  # of many no more than may be shown
            args += [query.exact, MOST_RANKED + 1]
            hits = f"{table}_search(${n - 2}, ${n - 1}, ${n}, ${n + 1}, ${n + 2})"
            which = f"h.hits <= {MOST_RANKED} OR h.rank = {EQUAL} OR h.number <= {SHOWN}"
            counted = f"CASE WHEN bool_or(many) OVER () THEN {MOST_RANKED + 1} ELSE count(*) OVER () END"
            found = f"(SELECT *, {counted} AS hits, row_number() OVER () AS number FROM {hits})"  # noqa: S608 (a declared table, numbered places)
            if order:
                args.append(limit)
                found = f"(SELECT * FROM {found} AS h WHERE {which} ORDER BY {order} LIMIT ${len(args)})"  # noqa: S608 (likewise)
            which = f" AND ({which})"
        case Way.MANY:
            found = (
                f"(SELECT id, CASE rank WHEN {EQUAL} THEN rank ELSE {ONE_OF_MANY} END AS rank FROM {hits})"  # noqa: S608 (likewise)
            )
        case Way.EXACT:
            which = f" AND h.rank = {EQUAL}"
        case _:
            pass
    return f"{found} AS h JOIN {table} AS t ON t.id = h.id{which}"


def picked(rows: str, order: str, way: Way, hit: str) -> str:
    """What stands behind FROM for the hits of a stretch of the list: `rows` reads records as `t`, `order` is the list's, and
    `hit` the condition on them."""
    stretch = f"{rows} ORDER BY {order}"
    if way is not Way.GLANCE:
        return f"(SELECT * FROM ({stretch} LIMIT {way.stretch}) AS t WHERE {hit}) AS t"  # noqa: S608 (a stretch and a condition composed of declared columns, fixed words and numbered places)
    # Nothing stands between the stretch and the page, which so ends the reading as soon as it is full.
    fifth = GLANCED // 5
    begun = f"SELECT FROM ({stretch} LIMIT {fifth}) AS t WHERE {hit} LIMIT {PROMISING}"
    worth = f"CASE (SELECT count(*) FROM ({begun}) AS begun) WHEN {PROMISING} THEN {GLANCED} ELSE {fifth} END"  # noqa: S608 (likewise)
    # Bounded by a number, too, for the planner would take the other limit for a tenth of the table and plan anew for each call.
    bounded = f"SELECT * FROM ({stretch} LIMIT {GLANCED}) AS t ORDER BY {order} LIMIT {worth}"  # noqa: S608 (likewise)
    return f"(SELECT * FROM ({bounded}) AS t WHERE {hit}) AS t"  # noqa: S608 (likewise)


def holds(query: Query, args: list[object], but_equal: bool) -> str:
    """The condition that `t` has all words of the query; `but_equal` leaves out those with a text that equals it."""
    # The texts alone do not tell: words of one or two letters are not found anywhere in them.
    args.append(list(query.grams))
    grams = f"t.search @> ${len(args)}"
    conditions: list[str] = []
    for word in query.words:
        args.append(word)
        conditions.append(f"strpos(t.search_text, ${len(args)}) > 0")
    if but_equal:
        args.append(query.phrase)
        conditions.append(f"strpos(E'\\n' || t.search_text || E'\\n', E'\\n' || ${len(args)} || E'\\n') = 0")
    return " AND ".join([*conditions, grams])
