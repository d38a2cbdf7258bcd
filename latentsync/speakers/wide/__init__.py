"""The wide kind of painted people: heads in space, any skin, light and lens, and things that pass before the mouth."""
