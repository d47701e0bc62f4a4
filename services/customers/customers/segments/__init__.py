"""Named sets of customers, one by one or by a rule."""
