"""Many questions to the index of words in one statement, each for so many records."""

from collections.abc import Iterable
from typing import Any

from chassis.search import Query

_LOOKED_UP = (
    "jsonb_to_recordset({asked}::jsonb) AS q(place int, grams jsonb, words jsonb, phrase text, most int),"
    " LATERAL {table}_search(ARRAY(SELECT g::int FROM jsonb_array_elements_text(q.grams) g),"
    " ARRAY(SELECT jsonb_array_elements_text(q.words)), q.phrase, NULL, q.most) s"
)


def looked_up(table: str, place: int) -> str:
    """What stands behind FROM: the hits as `s`, and as `q` the questions that `asked` makes, which are the parameter of that
    place. A record comes once for each question that it answers."""
    return _LOOKED_UP.replace("{asked}", f"${place}").replace("{table}", table)


def asked(queries: Iterable[tuple[Query, int]]) -> list[dict[str, Any]]:
    """These questions, numbered by their places, and how many records each brings at most."""
    return [
        {"place": place, "grams": query.grams, "words": query.words, "phrase": query.phrase, "most": most}
        for place, (query, most) in enumerate(queries)
    ]
