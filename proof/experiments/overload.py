"""More load than the suite can bear, and one tenant that sends ten times its share."""

import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from bench import open_loop
from bench.open_loop import Run, Stream
from kehu_local.suite import Suite, start_suite
from proof.checkers import Round, goodput_share, overload_faults, p99, slowdown
from proof.commands import said
from proof.people import Person
from proof.scoreboard import Experiment, Figure, Row, Trial

R11 = Row(
    "R11",
    "load of 2 and 5 times capacity",
    "goodput ≥ 90 % of peak; excess 429/503 with Retry-After at once; no answer lost",
)
R13 = Row("R13", "one tenant at 10 times its share", "others' p99 ≤ 1.5 times")
_FACTORS = (1.0, 2.0, 5.0)
_TENANTS = 5
_PLANNED = 0.7
"""The part of the capacity that the tenants share: more is planned by nobody whose answers must be in time."""
_NOISE = 10
_CUSTOMERS = 20


@dataclass(frozen=True)
class Company:
    """A tenant, the one person of it who asks, and the customers that are asked for."""

    person: Person
    ids: tuple[str, ...]

    def requests(self) -> list[bytes]:
        """Gets of its customers, with a fresh token."""
        headers = self.person.sign_in().headers
        host = self.person.http.base_url.netloc.decode()
        head = f"host: {host}\r\nauthorization: {headers['authorization']}\r\naccept: */*\r\n\r\n"
        return [f"GET /v1/customers/{id} HTTP/1.1\r\n{head}".encode() for id in self.ids]


def company(suite: Suite, name: str) -> Company:
    """Founds a tenant and makes customers in it."""
    printed = said(
        suite,
        "identity",
        "first-admin",
        "--tenant",
        name,
        "--email",
        f"boss@{name}.example",
        "--keep-password",
    )
    known = json.loads(printed)
    http = httpx.Client(base_url=suite.base_url, timeout=30)
    person = Person(http, known["tenant"], known["email"], known["password"]).sign_in()
    made = [person.post("/v1/customers", {"displayName": f"Customer {n}"})["id"] for n in range(_CUSTOMERS)]
    return Company(person, tuple(made))


@dataclass(frozen=True)
class Place:
    """Where the gateway is, and how it is loaded."""

    trial: Trial
    host: str
    port: int

    def capacity(self, asked: Company) -> float:
        """Good answers a second of closed-loop clients."""
        found = open_loop.capacity(self.host, self.port, asked.requests(), 2.0)
        self.trial.note("capacity", rate=found)
        return found

    def run(self, what: str, streams: Mapping[str, Stream]) -> Run:
        """Sends them for some seconds."""
        seconds = self.trial.size(short=3, long=10)
        done = open_loop.run(self.host, self.port, streams, seconds, self.trial.chance(what))
        for name, told in done.told.items():
            self.trial.note(
                what, stream=name, rate=streams[name].rate, sent=told.sent, good=told.rate, refused=len(told.refused),
                wrong=told.wrong, lost=told.lost, unsent=told.unsent, p99=p99(told.good), refused_p99=p99(told.refused),
                client=done.load,
            )  # fmt: skip
        return done


def run(trial: Trial) -> Mapping[str, Figure]:
    """Three rounds of each in the short form, fifteen in the long one. In a round all is measured in turns, so that a machine
    that is busy with something else disturbs all of it alike; figures are medians over the rounds.
    """
    with start_suite(trial.folder / "suite", keep_password=True) as suite:
        address = urlsplit(suite.base_url)
        place = Place(trial, str(address.hostname), int(address.port or 80))
        companies = {f"company-{n}": company(suite, f"company-{n}") for n in range(_TENANTS)}
        place.capacity(companies["company-0"])  # warm
        rounds = trial.size(short=3, long=15)
        return {
            "R11": _overload(place, companies["company-0"], rounds),
            "R13": _noise(place, companies, rounds),
        }


def _overload(place: Place, asked: Company, rounds: int) -> Figure:
    done: list[Round] = []
    faults: list[str] = []
    client = 0.0
    for number in range(rounds):
        capacity = place.capacity(asked)
        factors = [*_FACTORS]
        place.trial.chance(f"order {number}").shuffle(factors)
        found: dict[float, float] = {}
        for factor in factors:
            ran = place.run(
                f"{factor} times, round {number}", {"all": Stream(asked.requests(), capacity * factor)}
            )
            client = max(client, ran.load)
            found[factor] = ran.told["all"].rate
            faults += [f"{factor} times: {fault}" for fault in overload_faults(ran.told["all"])]
        done.append(Round(capacity, found))
    shares = {factor: goodput_share(done, factor) for factor in _FACTORS[1:]}
    peak = statistics.median(one.peak for one in done)
    spoken = ", ".join(f"{share:.0%} at {factor:.0f} times" for factor, share in shares.items())
    return Figure(
        f"goodput {spoken} of a peak of {peak:.0f}/s; {len(faults)} faults in the answers{_first(faults)}; "
        f"the load itself took {client:.0%} of a core",
        not faults and all(share >= 0.9 for share in shares.values()),
        {"peak": round(peak), "faults": len(faults), "client": round(client, 3),
         **{f"share at {factor:.0f}": round(share, 3) for factor, share in shares.items()}},
    )  # fmt: skip


def _noise(place: Place, companies: Mapping[str, Company], rounds: int) -> Figure:
    noisy, *others = companies
    pairs: list[tuple[list[float], list[float]]] = []
    refused = asked = 0
    for number in range(rounds):
        share = place.capacity(companies[noisy]) * _PLANNED / len(companies)
        calm = {name: Stream(companies[name].requests(), share) for name in others}
        loud = {**calm, noisy: Stream(companies[noisy].requests(), share * _NOISE)}
        times: dict[bool, list[float]] = {}
        for with_noise in (False, True) if number % 2 else (True, False):
            what = "with noise" if with_noise else "without noise"
            told = place.run(f"{what}, round {number}", loud if with_noise else calm).told
            times[with_noise] = [ms for name in others for ms in told[name].good]
            if with_noise:
                refused += sum(told[name].sent - len(told[name].good) for name in others)
                asked += sum(told[name].sent for name in others)
        pairs.append((times[False], times[True]))
    found = slowdown(pairs)
    calmly = statistics.median(p99(calm) for calm, _ in pairs)
    return Figure(
        f"{found:.2f} times; their p99 is {calmly:.0f} ms without the noise; of their {asked} requests beside it {refused} "
        "were not answered well",
        found <= 1.5 and refused <= asked / 1000,
        {"times": round(found, 3), "p99 ms without noise": round(calmly, 1), "not well": refused},
    )


def _first(faults: list[str]) -> str:
    return f" ({faults[0]})" if faults else ""


EXPERIMENT = Experiment("overload", (R11, R13), run)
