"""The commands that call models: ``bookserve predict``, ``generate``, ``sample``, ``bench`` and their kin.

The client library itself is ``bookserve.client``. ``from clients import connect``, as model cards of bookserve 0.1.0
have it, still works.
"""

from bookserve.client import Client as Client
from bookserve.client import Samples as Samples
from bookserve.client import connect as connect
