"""Importing leads, which asks customers for its lists."""

from chassis.imports.rpc import Imports
from leads.imports import LEADS
from leads.rpc.lists import learn

IMPORTS = Imports(LEADS, learn=learn)
