"""Customers and contacts, and how they are found."""
