"""The demonstration company: a real pipeline of a seller of computer hardware, loaded through the public API like anybody's data.

Accounts become customers, sales teams people with their managers, products products; the 8,800 rows of the pipeline become
opportunities with their stages and dates, and what was won becomes orders. What does not fit is refused row by row by the
import, what can be understood is repaired, and the sums are told at the end.

Loading looks for what is there before it makes anything: it may be cut off anywhere and done again.
"""

import csv
import io
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx

from kehu_local.processes import StartFailed

DATA = Path(__file__).parents[3] / "examples" / "data"
PIPELINE = DATA / "crm-sales-opportunities"
CURRENCY = "USD"
_AT_ONCE = 8
_ENDED = ("IMPORT_STATE_SUCCEEDED", "IMPORT_STATE_FAILED", "IMPORT_STATE_CANCELLED")
Row = dict[str, str]


@dataclass
class Loaded:
    """What is there of the demonstration company, now or since an earlier time; money in its currency."""

    rows: int = 0
    """Rows of the pipeline: imported + refused."""
    imported: int = 0
    repaired: int = 0
    """Some of the imported."""
    refused: int = 0
    noted: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    """Rows by what was done with them, `refused` or `repaired`, and why."""
    report: str = ""
    """Path of the file of those rows, in the API."""
    people: int = 0
    products: int = 0
    customers: int = 0
    won: int = 0
    won_amount: Decimal = Decimal(0)
    orders: int = 0
    orders_amount: Decimal = Decimal(0)
    leads: int = 0
    tickets: int = 0
    made: int = 0
    """Records that were not there before, without those of imports."""
    seconds: float = 0.0
    sign_ins: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    """What they are, e-mail, password; empty for one who had chosen a password before."""

    def __str__(self) -> str:
        lines = [
            f"The demonstration company is there, after {self.seconds:.0f} s.",
            "",
            f"  {self.people:>6,} people in their teams",
            f"  {self.customers:>6,} customers",
            f"  {self.products:>6,} products",
            f"  {self.leads:>6,} leads, {self.tickets} tickets",
            f"  {self.orders:>6,} placed orders, {CURRENCY} {self.orders_amount:,.2f}, of {self.won:,} deals won for"
            f" {CURRENCY} {self.won_amount:,.2f}",
            "",
            "Rows of the pipeline:",
            f"  {self.imported:>6,} became opportunities",
            *(
                f"  {number:>14,} of them repaired, {why}"
                for (what, why), number in self.noted.items()
                if what != "refused"
            ),
            f"  {self.refused:>6,} were refused",
            *(f"  {number:>14,} {why}" for (what, why), number in self.noted.items() if what == "refused"),
            f"  {self.imported + self.refused:>6,} of {self.rows:,}; GET {self.report} has those refused or repaired",
            "",
            "Others who can sign in:",
            *(
                f"  {what:<38}{email:<34}{password or '(as shown before)'}"
                for what, email, password in self.sign_ins
            ),
        ]
        return "\n".join(lines)


class Api:
    """The public API as one person. Signs in again when the token has ended."""

    def __init__(self, base_url: str, tenant: str, email: str, password: str) -> None:
        self._who = {"tenant": tenant, "email": email, "password": password}
        self._http = httpx.Client(base_url=base_url, timeout=60)
        self._until = 0.0
        self._signing_in = threading.Lock()

    def ask(self, method: str, path: str, *, key: str = "", **sent: Any) -> Any:
        """The JSON of a good answer. Raises StartFailed with the problem."""
        with self._signing_in:
            if time.monotonic() > self._until:
                self._sign_in()
        answer = self._send(method, path, headers={"idempotency-key": key} if key else {}, **sent)
        if answer.is_error:
            raise StartFailed(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else {}

    def post(self, path: str, body: dict[str, Any], key: str) -> Any:
        """Makes something once, however often it is asked for with that key."""
        return self.ask("POST", path, json=body, key=f"demo-{key.replace(' ', '.')}")

    def all(self, path: str, name: str, **asked: str) -> Iterable[Any]:
        """Every record of a list."""
        token = ""
        while True:
            page = self.ask("GET", path, params={**asked, "pageSize": "200", "pageToken": token})
            yield from page.get(name, [])
            token = page.get("nextPageToken", "")
            if not token:
                return

    def text(self, path: str) -> str:
        """A file."""
        answer = self._http.get(path)
        answer.raise_for_status()
        return answer.content.decode("utf-8-sig")

    def choose_password(self, new: str) -> None:
        """Ends a one-time password."""
        said = {"currentPassword": self._who["password"], "newPassword": new}
        self.ask("POST", "/v1/me:changePassword", json=said)

    def load(
        self, path: str, record_type: str, filename: str, rows: Sequence[Row], mapping: Mapping[str, str]
    ) -> Any:
        """Imports rows, unless a file of that name was imported before; `mapping` names the field of each column.

        The import as it ended. Raises StartFailed.
        """
        columns = list(rows[0])
        known = [
            one
            for one in self.all(path, "imports", filter=f'recordType = "{record_type}"')
            if one["filename"] == filename and one["state"] not in _ENDED[1:]
        ]
        if known:
            (state, *_) = known
        else:
            text = io.StringIO()
            writer = csv.DictWriter(text, columns)
            writer.writeheader()
            writer.writerows(rows)
            file = {"file": (filename, text.getvalue().encode(), "text/csv")}
            state = self.ask("POST", path, data={"recordType": record_type}, files=file)
        if state["state"] == "IMPORT_STATE_READY":
            pairs = [{"column": columns.index(column), "field": name} for column, name in mapping.items()]
            self.ask("POST", f"{path}/{state['id']}:start", json={"mapping": pairs, "currencyCode": CURRENCY})
        while state["state"] not in _ENDED:
            time.sleep(0.1)
            state = self.ask("GET", f"{path}/{state['id']}")
        if state["state"] != "IMPORT_STATE_SUCCEEDED":
            raise StartFailed(f"The import of {record_type}s did not succeed: {state}")
        return state

    def _send(self, method: str, path: str, **sent: Any) -> httpx.Response:
        """Asks again as long as Kehu is too busy."""
        while True:
            answer = self._http.request(method, path, **sent)
            if answer.status_code not in (429, 503):
                return answer
            time.sleep(float(answer.headers.get("retry-after", 1)))

    def _sign_in(self) -> None:
        answer = self._send("POST", "/v1/sessions:signIn", json=self._who)
        if answer.is_error:
            raise StartFailed(f"Signing in as {self._who['email']}: {answer.status_code} {answer.text}")
        self._http.headers["authorization"] = f"Bearer {answer.json()['accessToken']}"
        self._until = time.monotonic() + 240  # a token lives for five minutes


def load(
    base_url: str, tenant: str, email: str, password: str, *, every: int = 1, most_orders: int | None = None
) -> Loaded:
    """Loads everything as that administrator; of the pipeline each row whose number `every` divides, of the orders those of the
    earliest deals up to `most_orders`.

    What is there already stays as it is. Raises StartFailed, OSError when the data are not there.
    """
    began = time.monotonic()
    api = Api(base_url, tenant, email, password)
    done = Loaded()
    people = _people(api, base_url, tenant, done)
    _products(api, done)
    _customers(api, done)
    _give_customers(api, people)
    _pipeline(api, done, every)
    _orders(api, done, most_orders)
    _leads(api, done)
    _tickets(api, done)
    done.seconds = time.monotonic() - began
    return done


def _read(name: str, folder: Path = PIPELINE) -> list[Row]:
    with (folder / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def address(name: str) -> str:
    """The e-mail address of a person of the demonstration company."""
    return f"{name.lower().replace(' ', '.')}@demo.example"


def _people(api: Api, base_url: str, tenant: str, done: Loaded) -> dict[str, str]:
    """Teams with their people, some of whom get a password. Ids of people by name."""
    rows = _read("sales_teams.csv")
    roles = {role["name"]: role["id"] for role in api.all("/v1/roles", "roles")}
    teams = {team["name"]: team for team in api.all("/v1/teams", "teams")}
    known = {person["email"]: person for person in api.all("/v1/people", "people")}
    managers = {row["manager"]: row["regional_office"] for row in rows}
    first = rows[0]["manager"]
    elsewhere = next(name for name, office in managers.items() if office != managers[first])
    shown = {
        first: "Manager",
        rows[0]["sales_agent"]: "Salesperson",
        elsewhere: "Manager elsewhere",
    }

    def team(name: str, parent: str = "") -> str:
        if name not in teams:
            body = {"name": name, **({"parentId": parent} if parent else {})}
            teams[name] = api.post("/v1/teams", body, f"team-{name}")
            done.made += 1
        return teams[name]["id"]

    def person(name: str, team_id: str, role: str) -> str:
        email = address(name)
        found, one_time = known.get(email), ""
        if found is None:
            body = {"email": email, "displayName": name, "teamId": team_id, "roleIds": [roles[role]]}
            made = api.post("/v1/people", body, f"person-{name}")
            found, one_time = made["person"], made["oneTimePassword"]
            done.made += 1
        elif name in shown and found.get("mustChangePassword"):  # cut off before it was chosen
            one_time = api.ask("POST", f"/v1/people/{found['id']}:resetPassword", json={})["oneTimePassword"]
        if name in shown:
            chosen = secrets.token_urlsafe(9) if one_time else ""
            if chosen:
                Api(base_url, tenant, email, one_time).choose_password(chosen)
            done.sign_ins.append((f"{shown[name]} {name}", email, chosen))
        done.people += 1
        return found["id"]

    people: dict[str, str] = {}
    for manager, office in managers.items():
        name = f"Team {manager}"
        id = team(name, team(f"{office} office"))
        people[manager] = person(manager, id, "Manager")
        if teams[name].get("managerId") != people[manager]:
            api.ask("PATCH", f"/v1/teams/{id}", json={"managerId": people[manager]})
    with ThreadPoolExecutor(2) as pool:  # a password's hash takes a processor
        agents = [row["sales_agent"] for row in rows]
        homes = [teams[f"Team {row['manager']}"]["id"] for row in rows]
        people.update(zip(agents, pool.map(person, agents, homes, ["Member"] * len(rows)), strict=True))
    done.sign_ins.sort()
    return people


def _products(api: Api, done: Loaded) -> None:
    mapping = {"product": "name", "series": "series", "sales_price": "listPrice"}
    rows = _read("products.csv")
    done.products = api.load("/v1/sales/imports", "product", "products.csv", rows, mapping)["createdRows"]


def _customers(api: Api, done: Loaded) -> None:
    rows = _read("accounts.csv")
    for row in rows:  # the source counts in millions
        row["revenue"] = f"{float(row['revenue']) * 1_000_000:.2f}"
    mapping = {
        "account": "displayName", "sector": "industry", "office_location": "region", "employees": "employeeCount",
        "year_established": "yearEstablished", "revenue": "annualRevenue", "subsidiary_of": "parent",
    }  # fmt: skip
    # A parent has to be there before its subsidiaries name it.
    for filename, part in (
        ("accounts.csv", [row for row in rows if not row["subsidiary_of"]]),
        ("accounts-subsidiaries.csv", [row for row in rows if row["subsidiary_of"]]),
    ):
        ended = api.load("/v1/customers/imports", "customer", filename, part, mapping)
        done.customers += ended["createdRows"]


def _give_customers(api: Api, people: Mapping[str, str]) -> None:
    """A customer goes to whoever sold most to it: the source names no owner."""
    me = api.ask("GET", "/v1/me")["person"]["id"]
    sold: dict[str, Counter[str]] = {}
    for row in _read("sales_pipeline.csv"):
        sold.setdefault(row["account"], Counter())[row["sales_agent"]] += int(row["close_value"] or 0)
    for customer in list(api.all("/v1/customers", "customers")):
        if customer["ownerId"] == me and customer["displayName"] in sold:
            seller = sold[customer["displayName"]].most_common(1)[0][0]
            api.ask("POST", f"/v1/customers/{customer['id']}:assign", json={"ownerId": people[seller]})


def _pipeline(api: Api, done: Loaded, every: int) -> None:
    rows = _read("sales_pipeline.csv")[::every]
    mapping = {
        "opportunity_id": "externalKey", "sales_agent": "owner", "product": "product", "account": "customer",
        "deal_stage": "stage", "engage_date": "engageDate", "close_date": "closeDate", "close_value": "amount",
    }  # fmt: skip
    ended = api.load("/v1/sales/imports", "opportunity", "sales_pipeline.csv", rows, mapping)
    done.rows, done.imported = len(rows), ended["createdRows"]
    done.repaired, done.refused = ended.get("repairedRows", 0), ended.get("refusedRows", 0)
    done.report = f"/v1/sales/imports/{ended['id']}/refusedRows"
    noted = csv.DictReader(io.StringIO(api.text(done.report)))
    done.noted = dict(Counter((row["Verdict"], row["Reasons"]) for row in noted))


def _orders(api: Api, done: Loaded, most: int | None) -> None:
    """Each deal that was won becomes an order of the day it was closed."""
    there = {
        order["externalKey"]: order for order in api.all("/v1/orders", "orders") if "externalKey" in order
    }

    def order(deal: dict[str, Any]) -> Decimal:
        key = deal["externalKey"]
        if key not in there:
            body = {
                "customerId": deal["customerId"], "opportunityId": deal["id"], "ownerId": deal["ownerId"],
                "orderDate": deal["closeDate"], "externalKey": key,
                "lines": [{"productId": deal["productId"], "quantity": "1", "unitPrice": deal["amount"]}],
            }  # fmt: skip
            sent = {"params": {"place": "true"}, "json": body}
            there[key] = api.ask("POST", "/v1/orders", key=f"demo-order-{key}", **sent)
            done.made += 1
        return amount(there[key]["total"])

    won = list(
        api.all(
            "/v1/opportunities",
            "opportunities",
            filter='status = "OPPORTUNITY_STATUS_WON"',
            orderBy="closeDate",
        )
    )
    won = [deal for deal in won if deal.get("externalKey")]
    done.won, done.won_amount = len(won), sum((amount(deal["amount"]) for deal in won), Decimal(0))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for total in pool.map(order, won[:most]):
            done.orders += 1
            done.orders_amount += total


def amount(money: Mapping[str, Any]) -> Decimal:
    """The number of an amount of money."""
    return Decimal(money.get("units", "0")) + Decimal(money.get("nanos", 0)) / 10**9


def _leads(api: Api, done: Loaded) -> None:
    """Leads as a Chinese company writes them down; phone numbers and people are invented."""
    mapping = {
        "姓名": "name", "公司": "companyName", "职位": "title", "手机": "phone", "来源": "source", "备注": "notes",
    }  # fmt: skip
    rows = _read("leads.csv", DATA / "leads")
    done.leads = api.load("/v1/leads/imports", "lead", "leads.csv", rows, mapping)["createdRows"]


_COMPLAINTS = (
    ("Delivery incomplete", "TICKET_PRIORITY_HIGH", ""), ("Fan makes a noise", "TICKET_PRIORITY_NORMAL", "Fan replaced"),
    ("Invoice shows the old address", "TICKET_PRIORITY_LOW", "Invoice sent again"), ("无法开机", "TICKET_PRIORITY_URGENT", ""),
)  # fmt: skip


def _tickets(api: Api, done: Loaded) -> None:
    there = {(one.get("customerId"), one["subject"]): one for one in api.all("/v1/tickets", "tickets")}
    customers = list(api.all("/v1/customers", "customers", orderBy="displayName"))
    for number, customer in enumerate(customers[::7]):
        subject, priority, resolution = _COMPLAINTS[number % len(_COMPLAINTS)]
        ticket = there.get((customer["id"], subject))
        if ticket is None:
            body = {"subject": subject, "priority": priority, "customerId": customer["id"]}
            ticket = api.post("/v1/tickets", body, f"ticket-{customer['id']}")
            done.made += 1
            if resolution:
                api.post(
                    f"/v1/tickets/{ticket['id']}:resolve",
                    {"resolution": resolution},
                    f"resolve-{ticket['id']}",
                )
        done.tickets += 1
