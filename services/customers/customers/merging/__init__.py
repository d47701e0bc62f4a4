"""Customers and contacts that were kept twice go into one, and come out of it again."""
