"""Contrastive losses, pure torch."""
