"""Where images come from. A supply turns the image list into a lock of digests; see `world.images`."""
