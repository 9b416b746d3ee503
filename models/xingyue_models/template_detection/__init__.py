"""Defect detection on boards, against a template where one is given."""
