"""Measures the suite beside its floor."""
