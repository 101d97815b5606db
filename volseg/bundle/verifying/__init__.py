"""Whether a bundle is the one that was made, and does here what it did there."""
