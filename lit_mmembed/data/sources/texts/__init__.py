"""Sets of texts to train on: one file per form of row, one source that reads any of them, and a list of several."""
