"""Other detectors of backdoors, from their papers' definitions, to compare the search with on the same members.

Each is a module with one function that gives a number for a suspect, the larger the more suspicious. They are as near
to the papers as a projector without labels allows; what differs is said in each module.
"""
