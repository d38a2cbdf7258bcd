"""Other jobs that make records: a folder, a search, a table's row made again, a record for a widget, samples."""
