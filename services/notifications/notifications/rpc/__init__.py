"""The gRPC face: parse, call the use case, answer."""
