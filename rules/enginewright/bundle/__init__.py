"""Folders of files that have one digest, and publishing them where servers find them."""
