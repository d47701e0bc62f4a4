"""The experiments, each a module with its `EXPERIMENT`."""
