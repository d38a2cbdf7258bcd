"""Measuring one result, or one finished record."""
