"""Bundles as files, in a folder or in a zip: looked at with suspicion, bounded in everything."""
