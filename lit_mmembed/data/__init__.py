"""Samples: where they come from, how they lie in shards, how they become batches."""
