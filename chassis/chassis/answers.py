"""The answers that are kept for repeats (see `chassis.rpc.face.once`), when nobody may know any more what stands in them."""

from datetime import datetime

from sqlalchemy import text

from chassis.database import Transaction

_FORGET = text("DELETE FROM idempotency WHERE created_at < :before")


async def forget_answers(tx: Transaction, before: datetime) -> None:
    """Drops the tenant's answers that are older than that: whoever repeats such a request makes a new one."""
    await tx.session.execute(_FORGET, {"before": before})
