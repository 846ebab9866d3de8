"""Labels, rules, targets, actions and their keys: pure data, no input or output."""
