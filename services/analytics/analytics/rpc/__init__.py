"""The gRPC face: one file a report."""
