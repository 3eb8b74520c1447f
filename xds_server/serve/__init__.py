"""The gRPC shell around the protocol core."""
