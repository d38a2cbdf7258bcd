"""Other ways to have cells made: a folder, a search, a row of a table made again, a widget's wish."""
