"""bookserve's ground floor: the words that trainers, exporter, server and clients share.

Importing this package imports nothing else; each word lives in the module that bears its name
(``bookserve.steps``, ``bookserve.bundle``, …).
"""

__version__ = "0.1.0"
