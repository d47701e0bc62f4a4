"""Campaigns, their members and public lead forms."""
