"""What the suite is made of. A company that does not run a service leaves it out with `--services`, or deletes its line."""

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

GATEWAY = "gateway"
OPERATOR = "operator"
"""Signs for commands that a person at the machine gives."""


@dataclass(frozen=True)
class Member:
    """One service of the suite."""

    domain: str
    """Its name in contracts, event subjects, settings, roles of the database and users of the broker."""
    module: str
    """Started as `python -m <module>`."""
    listens_to: tuple[str, ...] | None = None
    """Domains whose events it may read; None for those of all others. Nobody may publish but in its own domain."""

    @property
    def stream(self) -> str:
        """The broker's stream of its events."""
        return self.domain.upper()

    @property
    def migrations(self) -> Path:
        """The folder of its migrations. Raises LookupError when it is not installed."""
        spec = importlib.util.find_spec(self.module)
        if spec is None or not spec.submodule_search_locations:
            raise LookupError(f"{self.module} is not installed")
        return Path(spec.submodule_search_locations[0]) / "migrations"


MEMBERS = (
    Member("identity", "identity"),
    Member("customers", "customers"),
    Member("leads", "leads"),
    Member("sales", "sales"),
    Member("marketing", "marketing"),
    Member("servicedesk", "service_desk"),
    Member("analytics", "analytics"),
    Member("notifications", "notifications"),
)

NEEDED = frozenset({"identity"})
"""Without it nobody could sign in."""


def members(names: Iterable[str] | None = None) -> tuple[Member, ...]:
    """The services of those names, in the order they are started; all of them for None.

    `service-desk` and `service_desk` mean `servicedesk`. Raises ValueError naming a service that does not exist.
    """
    if names is None:
        return MEMBERS
    wanted = {name.strip().replace("-", "").replace("_", "") for name in names if name.strip()}
    unknown = wanted - {member.domain for member in MEMBERS}
    if unknown:
        known = ", ".join(member.domain for member in MEMBERS)
        raise ValueError(f"There is no service {', '.join(sorted(unknown))}. There are: {known}.")
    return tuple(member for member in MEMBERS if member.domain in wanted | NEEDED)


def heard_by(member: Member) -> tuple[str, ...]:
    """The domains whose events that service may read."""
    if member.listens_to is not None:
        return member.listens_to
    return tuple(other.domain for other in MEMBERS if other is not member)
