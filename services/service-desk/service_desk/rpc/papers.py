"""Notes and files on tickets."""

from chassis.subjects import Subject, Subjects
from service_desk.rpc.tickets import TICKETS

SUBJECTS = Subjects(Subject(TICKETS))
