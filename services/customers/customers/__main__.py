"""`python -m customers`"""

from chassis.service import main
from customers.service import SERVICE

main(SERVICE)
