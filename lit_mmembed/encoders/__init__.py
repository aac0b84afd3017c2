"""Backbones: modules that turn features into unit vectors."""
