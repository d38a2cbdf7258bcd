"""How good the embedded model is: held-out material, what is measured on it, and the table of bars and values."""
