"""Other jobs: a folder, a search, a row of a table made again, a record for a widget, samples, bringing into sync."""
