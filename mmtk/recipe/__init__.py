"""Recipes: read them, check them, build what they name."""

from mmtk.recipe.check import CheckedRecipe, CheckedStage, check_recipe
from mmtk.recipe.load import RecipeDocument, load_recipe

__all__ = ["CheckedRecipe", "CheckedStage", "RecipeDocument", "check_recipe", "load_recipe"]
