"""Tenants, people, teams, roles, sessions and keys."""
