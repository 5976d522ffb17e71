"""The text of an error of another library, for messages of one line."""

LONGEST = 300  # letters


def one_line(error: Exception) -> str:
    """Type and message of an error on one line, cut to 300 letters after the type."""
    return f'{type(error).__name__}: {" ".join(str(error).split())[:LONGEST]}'
