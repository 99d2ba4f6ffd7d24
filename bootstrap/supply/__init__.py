"""Where images come from. A supply provides every image and the lock with their digests; see `world.image_supply`."""
