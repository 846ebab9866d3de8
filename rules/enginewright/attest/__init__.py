"""What is said of artifacts for others to check: where they come from, what is in them, what is known against them, who vouches for it."""
