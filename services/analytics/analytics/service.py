"""The analytics service: facts from the events of all others, and reports over them."""

from pathlib import Path

from analytics.listens import SUBSCRIPTIONS
from analytics.privacy import PRIVACY
from analytics.rebuild import rebuild
from analytics.rpc import (
    freshness,
    leads_by_source,
    leads_by_utm,
    orders_by_product,
    pipeline_funnel,
    sales_by_person_and_month,
    tickets_by_status_and_age,
)
from analytics.rpc.face import face
from chassis.privacy.rpc import privacy_face
from chassis.service import Service

REPORTS = (
    leads_by_source,
    leads_by_utm,
    pipeline_funnel,
    sales_by_person_and_month,
    orders_by_product,
    tickets_by_status_and_age,
    freshness,
)
"""Each declares its own method of the face."""

SERVICE = Service(
    name="analytics",
    faces=[face, privacy_face("kehu.analytics.v1.PrivacyService", PRIVACY)],
    migrations=Path(__file__).parent / "migrations",
    subscriptions=SUBSCRIPTIONS,
    commands={"rebuild": rebuild},
)
