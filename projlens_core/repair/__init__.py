"""Taking a backdoor out of a projector without its trigger: repair, search on the result, trial, a file in its form."""
