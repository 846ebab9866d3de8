"""Python distributions for an image: pinned requirements, their wheels, and what an installer makes of them. Nothing here knows targets."""
