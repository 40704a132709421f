"""Crystals that occur in both of two sets."""
