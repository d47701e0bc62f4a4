"""Leads: capture, assignment, conversion."""
