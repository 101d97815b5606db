"""Bundles: what is inside, what running them would execute, and how they travel.

Nothing here imports torch or MONAI when it is imported, and nothing of what this package reads from a bundle is ever
evaluated, unpickled or imported.
"""
