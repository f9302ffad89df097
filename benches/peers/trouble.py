"""Why nothing can be measured."""


class Trouble(Exception):
    """Said to whoever called, without a stack."""
