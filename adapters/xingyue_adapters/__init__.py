"""Recipes that train and judge heads, found through ``xingyue.recipes``."""
