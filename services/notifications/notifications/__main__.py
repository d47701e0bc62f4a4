"""`python -m notifications`"""

from chassis.service import main
from notifications.service import SERVICE

main(SERVICE)
