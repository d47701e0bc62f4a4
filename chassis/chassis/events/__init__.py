"""Facts that reach others: recorded with the change that makes them true, relayed to the bus, taken in once."""
