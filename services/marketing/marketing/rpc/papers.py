"""Notes and files on campaigns."""

from chassis.subjects import Subject, Subjects
from marketing.rpc.campaigns import CAMPAIGNS

SUBJECTS = Subjects(Subject(CAMPAIGNS))
