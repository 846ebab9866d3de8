"""Running actions: what they may see, what they need, and what becomes of their outputs."""
