"""HTML pages: the report of a sweep, and the player of videos."""
