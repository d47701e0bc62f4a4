"""Membership: the programme, the cards of its members, and the ledger of their points."""
