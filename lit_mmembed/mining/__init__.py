"""Hard negatives: the rules of section 4.1.1 and the miner."""
