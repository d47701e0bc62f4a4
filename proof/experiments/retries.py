"""A service that fails every call: how often it is tried for each call that is made of it."""

from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from chassis.ids import new_id
from kehu_local.suite import start_suite
from proof.checkers import amplification
from proof.people import administrator
from proof.refusing import refusing
from proof.scoreboard import Experiment, Figure, Row, Trial

R12 = Row("R12", "retry amplification at 100 % failure", "≤ 1.2")
_AT_ONCE = 8


def run(trial: Trial) -> Mapping[str, Figure]:
    """In the place of customers a server that refuses all. Asked by the gateway, whose reads may be repeated, and by sales,
    which looks up the customer of a new order: 300 calls of each in the short form, 3,000 in the long one.
    """
    many = trial.size(short=300, long=3_000)
    with start_suite(trial.folder / "suite", keep_password=True) as suite:
        boss = administrator(suite)
        assert suite.gateway is not None
        address = suite.gateway.process.environment["KEHU_ADDRESS_CUSTOMERS"]
        product = boss.post(
            "/v1/products", {"name": "Pump", "listPrice": {"currencyCode": "CNY", "units": "10"}}
        )
        lines = [{"productId": product["id"], "quantity": "1"}]

        def read() -> int:
            return boss.http.get(f"/v1/customers/{new_id()}", headers=boss.headers).status_code

        def order() -> int:
            said = {"customerId": str(new_id()), "lines": lines}
            return boss.http.post("/v1/orders", json=said, headers=boss.headers).status_code

        suite.services["customers"].kill()
        try:
            with refusing(address) as refused:
                asked: list[tuple[str, str, Callable[[], int]]] = [
                    ("the gateway", "GetCustomer", read),
                    ("sales", "LookUpCustomers", order),
                ]
                found: dict[str, float] = {}
                for who, method, ask in asked:
                    boss.sign_in()
                    with ThreadPoolExecutor(_AT_ONCE) as pool:
                        answers = [pool.submit(ask) for _ in range(many)]
                        statuses = Counter(answer.result() for answer in answers)
                    found[who] = amplification(refused.attempts[method], many)
                    trial.note(
                        "asked", who=who, calls=many, attempts=refused.attempts[method], statuses=statuses
                    )
                    assert set(statuses) <= {503}, f"answers of {who}: {dict(statuses)}"
        finally:
            suite.services["customers"].start()
    spoken = ", ".join(f"{times:.3f} by {who}" for who, times in found.items())
    return {
        "R12": Figure(
            f"{spoken} in {many} calls each",
            all(1.0 <= times <= 1.2 for times in found.values()),
            {who: round(times, 4) for who, times in found.items()},
        )
    }


EXPERIMENT = Experiment("retries", (R12,), run)
