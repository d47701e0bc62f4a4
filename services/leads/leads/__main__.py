"""`python -m leads`"""

from chassis.service import main
from leads.service import SERVICE

main(SERVICE)
