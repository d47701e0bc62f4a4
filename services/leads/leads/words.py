"""The names of what a lead can be, as its columns hold them."""

NEW, CONTACTED, QUALIFIED = "NEW", "CONTACTED", "QUALIFIED"
CONVERTING, CONVERTED, DISQUALIFIED = "CONVERTING", "CONVERTED", "DISQUALIFIED"
STATUSES = (NEW, CONTACTED, QUALIFIED, CONVERTING, CONVERTED, DISQUALIFIED)
OPEN = (NEW, CONTACTED, QUALIFIED)
"""Statuses of leads that somebody still has to work on."""
PENDING, ACCEPTED = "PENDING", "ACCEPTED"
ACCEPTANCES = (PENDING, ACCEPTED)
BY_HAND, RULE, PASSED_ON, CLAIMED = "BY_HAND", "RULE", "PASSED_ON", "CLAIMED"
RETURNED, NOT_ACCEPTED, IDLE = "RETURNED", "NOT_ACCEPTED", "IDLE"
"""Why a lead is with its owner; the last three: why it is in the pool."""
CHANNELS = ("EMAIL", "SMS", "IM", "PHONE", "VISIT")
REACHED = "REACHED"
DUPLICATE = "DUPLICATE"
"""Why a lead is disqualified that is another one, or a customer."""
ROUND_ROBIN, LEAST_LOADED = "ROUND_ROBIN", "LEAST_LOADED"
