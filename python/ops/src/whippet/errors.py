class WhippetError(Exception):
    """A failure that a user can meet; its text is the one line that says what happened and what to do."""
