"""LightningModules, their shared contrastive step, and callbacks."""
