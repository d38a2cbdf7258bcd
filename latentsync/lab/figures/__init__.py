"""Tables and videos as matplotlib figures, in one style."""
