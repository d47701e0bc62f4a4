"""Scores by rules, as a plain function of a lead and whatever rules there are; and the day whose leads are due."""

from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from chassis.custom_fields.known import NONE
from leads.conditions import holds
from leads.handling import Handling, Part
from leads.lead import Lead
from leads.rpc.pool import day_of

CONDITIONS = [
    "", "region = 华东", "NOT region = 华东", "status = NEW", "tags:vip OR industry = bank", "lastContactTime = null",
    "email:example.com AND NOT industry = bank", "ownerId = null",
]  # fmt: skip
leads = st.builds(
    Lead,
    region=st.sampled_from(["", "华东", "华北"]),
    industry=st.sampled_from(["", "bank"]),
    status=st.sampled_from(["NEW", "CONTACTED"]),
    tags=st.lists(st.sampled_from(["vip", "new"]), unique=True),
    email=st.sampled_from(["", "a@example.com", "a@example.org"]),
    last_contact_time=st.sampled_from([None, datetime(2026, 1, 1, tzinfo=UTC)]),
    owner_id=st.sampled_from([None, UUID(int=1)]),
    score_adjustment=st.integers(-100, 100),
    touch_time=st.just(datetime(2026, 1, 2, tzinfo=UTC)),
)
parts = st.lists(
    st.builds(Part, st.just(UUID(int=1)), st.just("x"), st.sampled_from(CONDITIONS), st.integers(-100, 100)),
    max_size=12,
)


@given(leads, parts, st.one_of(st.none(), st.integers(0, 100)))
def test_a_score_is_the_sum_of_what_holds_within_bounds(
    lead: Lead, rules: list[Part], wanted: int | None
) -> None:
    handling = Handling(parts=rules)
    before = lead.score_adjustment
    lead.count(handling, wanted)
    together = sum(part.points for part in rules if holds(part.condition, lead, NONE))
    assert lead.score_points == max(0, min(100, together))
    assert {id(part) for part in handling.held(lead)} == {
        id(part) for part in rules if holds(part.condition, lead, NONE)
    }
    if wanted is None:
        assert lead.score_adjustment == before
        assert lead.score == max(0, min(100, lead.score_points + before))
    else:
        assert lead.score == wanted
    again = lead.score
    lead.count(handling)
    assert lead.score == again


def test_a_lead_from_before_keeps_what_was_scored_by_hand() -> None:
    lead = Lead(name="Old", score=70)
    lead.count(Handling(parts=[Part(UUID(int=1), "all", "", 50)]))
    assert (lead.score, lead.score_points, lead.score_adjustment) == (70, 50, 20)


def test_days_with_a_clock_change() -> None:
    """Berlin's longest day has 25 hours."""
    begin, end = day_of(datetime(2026, 10, 25, 12, tzinfo=UTC), "Europe/Berlin")
    assert end - begin == timedelta(hours=25)
    assert (
        begin.astimezone(ZoneInfo("Europe/Berlin")).hour
        == end.astimezone(ZoneInfo("Europe/Berlin")).hour
        == 0
    )
