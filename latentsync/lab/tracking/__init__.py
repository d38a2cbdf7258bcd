"""Publishes records to trackers such as Weights & Biases."""
