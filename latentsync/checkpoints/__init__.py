"""Loads networks from files, completely or not at all."""
