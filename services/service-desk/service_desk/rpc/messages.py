"""Rows as messages."""

from kehu.servicedesk.v1 import ticket_comment_pb2, ticket_pb2

from chassis.mapping import Mapping

TICKET = Mapping(ticket_pb2.Ticket)
COMMENT = Mapping(ticket_comment_pb2.TicketComment)
