"""The gRPC face: parse, call the use case, answer."""

from identity.rpc.api_keys import face as api_keys
from identity.rpc.people import face as people
from identity.rpc.roles import face as roles
from identity.rpc.searches import face as searches
from identity.rpc.sessions import face as sessions
from identity.rpc.teams import face as teams
from identity.rpc.tenants import face as tenants

FACES = [api_keys, people, roles, searches, sessions, teams, tenants]
