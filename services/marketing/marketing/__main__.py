"""`python -m marketing`"""

from chassis.service import main
from marketing.service import SERVICE

main(SERVICE)
