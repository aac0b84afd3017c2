"""`mmembed sweep`: W&B's sweep files without a server."""
