"""Where samples come from: one file per family of formats, each a `base.Source`."""
