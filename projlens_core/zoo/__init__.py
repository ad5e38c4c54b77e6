"""How the demo models are made: images, poisoning, training, measuring."""
