"""CIRCO, CIRR and FashionIQ by their own protocols: metrics with and without the reference, submission files."""

PROTOCOLS = ("circo", "cirr", "fashioniq")
