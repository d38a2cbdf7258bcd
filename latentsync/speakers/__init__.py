"""Synthetic talking heads: voice -> visemes -> painted head -> clip. Everything is seeded; nothing here needs torch."""
