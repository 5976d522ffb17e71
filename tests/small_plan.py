"""A tiny run to plan, shared by the tests of plans."""

import small
from programs import SMALL


def shrunk(c, **values):
    """The config of a tiny run, with other values."""
    for change in SMALL:
        key, _, value = change.partition('=')
        c.update_from_flattened_dict({key: int(value)})
    return small.changed(c, **values)
