"""Splits that keep related crystals together."""
