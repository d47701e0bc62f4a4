"""`python -m service_desk`"""

from chassis.service import main
from service_desk.service import SERVICE

main(SERVICE)
