"""What differs between two artifacts of one target, in words, and how near they are: bit, numerical or none."""
