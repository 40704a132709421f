"""A cache keyed by content."""
