"""The rules, one a module: what a BUILD.py may declare, and what each declaration's action does."""
