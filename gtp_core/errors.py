"""Errors a user can mend: one kind per thing the user was doing.

Every message is one sentence (or two) that says what was found, what was wanted, and what to do.
The command line prints it on standard error and exits with 2; the app shows it in place of the
part that failed. Anything else that is raised is a bug and stays bare.
"""


class GTPError(Exception):
    """Something the user can mend. Catch this, never print or exit where it is raised."""


class StoreError(GTPError):
    """Opening, reading, checking or writing a gradient store."""


class CatalogError(GTPError):
    """Building or querying the catalog of a store."""


class TaskError(GTPError):
    """Posing a problem: the task, its subtasks, examples or checkpoints."""


class BudgetError(GTPError):
    """Reading a budget, or fitting it to a pool."""


class MethodError(GTPError):
    """Choosing a method or one of its settings."""


class RunError(GTPError):
    """Saving, finding or rebuilding a run."""


class ExportError(GTPError):
    """Writing a selection to files."""


class CollectError(GTPError):
    """Making a store from a model and a pool."""


class SourceError(GTPError):
    """Reading a store that another tool made."""


class CancelledError(GTPError):
    """Whoever waited for it wants no more of it."""
