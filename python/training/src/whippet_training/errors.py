class TrainingError(Exception):
    """A failure that the person who trains can mend; its message is one line that says how."""
