"""Adapters to other people's storage, streams and guides: one system a file."""
