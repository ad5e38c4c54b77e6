"""The nursery: many tiny genuine llava models, honest and poisoned, whose truth is known."""
