"""`python -m sales`"""

from chassis.service import main
from sales.service import SERVICE

main(SERVICE)
