"""Who counts as one caller, and what is known of them."""

from dataclasses import replace

import pytest

from chassis.acting import acting, actor
from chassis.callers import counted
from chassis.ids import new_id
from chassis.principal import Act, Principal, Reach, Rights, Verifier
from chassis.testing import Keys, somebody


@pytest.mark.parametrize(
    ("address", "as_what"),
    [
        ("203.0.113.7", "203.0.113.7"), ("::ffff:203.0.113.7", "203.0.113.7"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64"), ("fe80::1%eth0", "fe80::/64"), ("", ""), ("unknown", "unknown"),
    ],
)  # fmt: skip
def test_a_network_of_ipv6_is_one_caller(address: str, as_what: str) -> None:
    assert counted(address) == as_what


def test_a_service_acts_by_its_own_rights_or_keeps_to_those_of_the_person(keys: Keys) -> None:
    verifier = Verifier.from_file(keys.jwks)
    person = somebody(team=new_id(), rights={"customers": Rights(Reach.TEAM, Reach.OWN)})
    person = replace(person, time_zone="Asia/Tokyo", session_id=new_id())

    def told(who: Principal) -> Principal:
        return verifier.verify(keys.issuer(who.service or "identity").issue(who))

    assert told(person) == person
    itself, kept = told(person.acting_as("marketing")), told(person.within("marketing"))
    assert itself.reach("customers", Act.WRITE) is itself.reach("orders", Act.READ) is Reach.ALL
    assert (kept.service, kept.person_id, kept.team_ids) == ("marketing", person.person_id, person.team_ids)
    assert [kept.reach("customers", act) for act in Act] == [Reach.TEAM, Reach.OWN]
    assert kept.reach("orders", Act.READ) is Reach.NONE and kept.time_zone == "Asia/Tokyo"
    assert kept.acting_as("sales").reach("orders", Act.READ) is Reach.ALL
    # Kept with work, and taken up again: without the session.
    assert actor(acting(person), person) == replace(person, session_id=None)
    older = {name: value for name, value in acting(person).items() if name != "time_zone"}
    assert actor(older, person).time_zone == ""
