"""Runnable measurements against peers, with their results as files."""
