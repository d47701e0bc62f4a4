"""`python -m analytics`"""

from analytics.service import SERVICE
from chassis.service import main

main(SERVICE)
