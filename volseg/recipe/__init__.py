"""The recipe: labels, geometry, network, augmentation, loss, optimiser, inference, as one checked piece of data."""

from volseg.recipe.load import dump_recipe, load_recipe
from volseg.recipe.model import Recipe
from volseg.recipe.reference import RecipeKey, json_schema, recipe_keys, recipe_reference

__all__ = ["Recipe", "RecipeKey", "dump_recipe", "json_schema", "load_recipe", "recipe_keys", "recipe_reference"]
