"""Speed, memory and bytes read of ProjLens, against a straightforward reference, in one run on the same inputs."""
