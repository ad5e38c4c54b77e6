"""A case: base, suspect and perhaps a control as the user named them, opened, loaded, and which parts are whose."""
