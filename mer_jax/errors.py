"""Text for messages of one line: of errors of other libraries, and of names of files."""

LONGEST = 300  # letters


def one_line(error: Exception) -> str:
    """Type and message of an error on one line, cut to 300 letters after the type."""
    return f'{type(error).__name__}: {" ".join(str(error).split())[:LONGEST]}'


def printable(text: str) -> str:
    """The text on one line; letters that cannot be printed are escaped.

    Names of files may hold any bytes; those that are not UTF-8 reach Python as lone surrogates.
    """
    return ''.join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
