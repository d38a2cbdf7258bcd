"""Measures a result, a finished record, or folders of videos."""
