"""The demonstration company: a real pipeline of a seller of computer hardware, loaded through the public API like anybody's data.

Accounts become customers, sales teams people with their managers, products products; the 8,800 rows of the pipeline become
opportunities with their stages and dates, and what was won becomes orders. What does not fit is refused row by row by the
import, what can be understood is repaired, and the sums are told at the end.
"""

import csv
import io
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
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
    """What came of it: rows of the pipeline by what became of them, and who can sign in."""

    rows: int = 0
    imported: int = 0
    repaired: int = 0
    refused: int = 0
    refused_reasons: dict[str, int] = field(default_factory=dict[str, int])
    customers: int = 0
    people: int = 0
    orders: int = 0
    leads: int = 0
    tickets: int = 0
    seconds: float = 0.0
    sign_ins: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    """What they are, e-mail, password."""

    def __str__(self) -> str:
        lines = [
            f"Loaded {self.people} people, {self.customers} customers, {self.leads} leads, {self.orders:,} orders and"
            f" {self.tickets} tickets in {self.seconds:.0f} s.",
            f"Of {self.rows:,} rows of the pipeline",
            f"  {self.imported:>6,} became opportunities, {self.repaired:,} of them repaired (GTXPro was taken for GTX Pro)",
            f"  {self.refused:>6,} were refused:",
            *(f"  {number:>14,} {reason}" for reason, number in self.refused_reasons.items()),
            "Others who can sign in:",
            *(f"  {what:<26}{email:<36}{password}" for what, email, password in self.sign_ins),
        ]
        return "\n".join(lines)


class Api:
    """The public API as one person. Signs in again when the token has ended."""

    def __init__(self, base_url: str, tenant: str, email: str, password: str) -> None:
        self._who = {"tenant": tenant, "email": email, "password": password}
        self._http = httpx.Client(base_url=base_url, timeout=60)
        self._until = 0.0

    def ask(self, method: str, path: str, *, key: str = "", **sent: Any) -> Any:
        """The JSON of a good answer; asked again when the gateway wants it slower. Raises StartFailed with the problem."""
        while True:
            if time.monotonic() > self._until:
                self._sign_in()
            headers = {"idempotency-key": key} if key else {}
            answer = self._http.request(method, path, headers=headers, **sent)
            if answer.status_code not in (429, 503):
                break
            time.sleep(float(answer.headers.get("retry-after", 1)))
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

    def load(self, path: str, record_type: str, rows: Sequence[Row], mapping: dict[str, str]) -> Any:
        """Imports rows; `mapping` names the field of each column. The import as it ended. Raises StartFailed."""
        columns = list(rows[0])
        text = io.StringIO()
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        writer.writerows(rows)
        file = {"file": (f"{record_type}.csv", text.getvalue().encode(), "text/csv")}
        made = self.ask("POST", path, data={"recordType": record_type}, files=file)
        pairs = [{"column": columns.index(column), "field": name} for column, name in mapping.items()]
        self.ask("POST", f"{path}/{made['id']}:start", json={"mapping": pairs, "currencyCode": CURRENCY})
        while True:
            state = self.ask("GET", f"{path}/{made['id']}")
            if state["state"] in _ENDED:
                break
            time.sleep(0.1)
        if state["state"] != "IMPORT_STATE_SUCCEEDED":
            raise StartFailed(f"The import of {record_type}s did not succeed: {state}")
        return state

    def _sign_in(self) -> None:
        answer = self._http.post("/v1/sessions:signIn", json=self._who)
        if answer.is_error:
            raise StartFailed(f"Signing in as {self._who['email']}: {answer.status_code} {answer.text}")
        self._http.headers["authorization"] = f"Bearer {answer.json()['accessToken']}"
        self._until = time.monotonic() + 240  # a token lives for five minutes


def load(base_url: str, tenant: str, email: str, password: str, *, most_orders: int | None = None) -> Loaded:
    """Loads everything as that administrator; of the orders, those of the earliest deals up to `most_orders`.

    Raises StartFailed, OSError when the data are not there.
    """
    began = time.monotonic()
    api = Api(base_url, tenant, email, password)
    done = Loaded()
    people = _people(api, base_url, tenant, done)
    _products(api)
    _customers(api, done)
    _give_customers(api, people)
    _pipeline(api, done)
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
    """Teams with their people. Ids of people by name."""
    people: dict[str, str] = {}
    roles = {role["name"]: role["id"] for role in api.all("/v1/roles", "roles")}
    rows = _read("sales_teams.csv")
    teams: dict[str, str] = {}
    for office in sorted({row["regional_office"] for row in rows}):
        teams[office] = api.post("/v1/teams", {"name": f"{office} office"}, f"team-{office}")["id"]
    show = {rows[0]["manager"]: "Manager", rows[0]["sales_agent"]: "Salesperson"}

    def person(name: str, team: str, role: str) -> None:
        body = {"email": address(name), "displayName": name, "teamId": team, "roleIds": [roles[role]]}
        made = api.post("/v1/people", body, f"person-{name}")
        done.people += 1
        if name in show:
            chosen = secrets.token_urlsafe(9)
            Api(base_url, tenant, address(name), made["oneTimePassword"]).choose_password(chosen)
            done.sign_ins.append((f"{show[name]} {name}", address(name), chosen))
        people[name] = made["person"]["id"]

    for row in {row["manager"]: row for row in rows}.values():
        manager = row["manager"]
        body = {"name": f"Team {manager}", "parentId": teams[row["regional_office"]]}
        team = api.post("/v1/teams", body, f"team-{manager}")["id"]
        person(manager, team, "Manager")
        api.ask("PATCH", f"/v1/teams/{team}", json={"managerId": people[manager]})
        for agent in rows:
            if agent["manager"] == manager:
                person(agent["sales_agent"], team, "Member")
    return people


def _products(api: Api) -> None:
    mapping = {"product": "name", "series": "series", "sales_price": "listPrice"}
    api.load("/v1/sales/imports", "product", _read("products.csv"), mapping)


def _customers(api: Api, done: Loaded) -> None:
    rows = _read("accounts.csv")
    for row in rows:  # the source counts in millions
        row["revenue"] = f"{float(row['revenue']) * 1_000_000:.2f}"
    mapping = {
        "account": "displayName", "sector": "industry", "office_location": "region", "employees": "employeeCount",
        "year_established": "yearEstablished", "revenue": "annualRevenue", "subsidiary_of": "parent",
    }  # fmt: skip
    # A parent has to be there before its subsidiaries name it.
    for part in ([r for r in rows if not r["subsidiary_of"]], [r for r in rows if r["subsidiary_of"]]):
        done.customers += api.load("/v1/customers/imports", "customer", part, mapping)["createdRows"]


def _give_customers(api: Api, people: dict[str, str]) -> None:
    """A customer goes to whoever sold most to it: the source names no owner."""
    sold: dict[str, Counter[str]] = {}
    for row in _read("sales_pipeline.csv"):
        sold.setdefault(row["account"], Counter())[row["sales_agent"]] += int(row["close_value"] or 0)
    for customer in list(api.all("/v1/customers", "customers")):
        seller = sold[customer["displayName"]].most_common(1)[0][0]
        api.ask("POST", f"/v1/customers/{customer['id']}:assign", json={"ownerId": people[seller]})


def _pipeline(api: Api, done: Loaded) -> None:
    rows = _read("sales_pipeline.csv")
    mapping = {
        "opportunity_id": "externalKey", "sales_agent": "owner", "product": "product", "account": "customer",
        "deal_stage": "stage", "engage_date": "engageDate", "close_date": "closeDate", "close_value": "amount",
    }  # fmt: skip
    ended = api.load("/v1/sales/imports", "opportunity", rows, mapping)
    done.rows, done.imported = len(rows), ended["createdRows"]
    done.repaired, done.refused = ended.get("repairedRows", 0), ended.get("refusedRows", 0)
    noted = csv.DictReader(io.StringIO(api.text(f"/v1/sales/imports/{ended['id']}/refusedRows")))
    done.refused_reasons = dict(Counter(row["Reasons"] for row in noted if row["Verdict"] == "refused"))


def _orders(api: Api, done: Loaded, most: int | None) -> None:
    def order(deal: dict[str, Any]) -> None:
        body = {
            "customerId": deal["customerId"], "opportunityId": deal["id"], "ownerId": deal["ownerId"],
            "orderDate": deal["closeDate"], "externalKey": deal["externalKey"],
            "lines": [{"productId": deal["productId"], "quantity": "1", "unitPrice": deal["amount"]}],
        }  # fmt: skip
        api.ask(
            "POST", "/v1/orders", params={"place": "true"}, json=body, key=f"demo-order-{deal['externalKey']}"
        )

    won = api.all(
        "/v1/opportunities", "opportunities", filter='status = "OPPORTUNITY_STATUS_WON"', orderBy="closeDate"
    )
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in pool.map(order, list(won)[:most]):
            done.orders += 1


def _leads(api: Api, done: Loaded) -> None:
    """Leads as a Chinese company writes them down; phone numbers and people are invented."""
    mapping = {
        "姓名": "name",
        "公司": "companyName",
        "职位": "title",
        "手机": "phone",
        "来源": "source",
        "备注": "notes",
    }
    done.leads = api.load("/v1/leads/imports", "lead", _read("leads.csv", DATA / "leads"), mapping)[
        "createdRows"
    ]


_COMPLAINTS = (
    ("Delivery incomplete", "TICKET_PRIORITY_HIGH", ""), ("Fan makes a noise", "TICKET_PRIORITY_NORMAL", "Fan replaced"),
    ("Invoice shows the old address", "TICKET_PRIORITY_LOW", "Invoice sent again"), ("无法开机", "TICKET_PRIORITY_URGENT", ""),
)  # fmt: skip


def _tickets(api: Api, done: Loaded) -> None:
    customers = list(api.all("/v1/customers", "customers", orderBy="displayName"))
    for number, customer in enumerate(customers[::7]):
        subject, priority, resolution = _COMPLAINTS[number % len(_COMPLAINTS)]
        body = {"subject": subject, "priority": priority, "customerId": customer["id"]}
        ticket = api.post("/v1/tickets", body, f"ticket-{number}")
        if resolution:
            api.post(f"/v1/tickets/{ticket['id']}:resolve", {"resolution": resolution}, f"resolve-{number}")
        done.tickets += 1
