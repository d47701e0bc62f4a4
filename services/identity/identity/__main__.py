"""`python -m identity`"""

from chassis.service import main
from identity.service import SERVICE

main(SERVICE)
