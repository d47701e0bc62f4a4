"""Tickets and their times of response and resolution."""
