"""Records as tables: tidy and wide, written, read and filtered."""
