"""Another laboratory's MONAI bundle, read as data: its configuration is interpreted here, and nothing of it is run."""
