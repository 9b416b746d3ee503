"""Xingyue (星月): an industry Model-as-a-Service platform."""
