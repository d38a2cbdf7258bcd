"""HTML pages: the report of a sweep, and the player of videos."""

REPORT_FILE = "report.html"  # its name in a sweep's folder
VIDEO_CHOICES = ("embed", "link")  # how a report shows its videos
