"""Networks from model folders and checkpoint files, loaded exactly or not at all."""
