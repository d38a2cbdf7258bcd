"""Records to trackers such as Weights & Biases."""
