"""From a recipe to the files of a bundle."""
