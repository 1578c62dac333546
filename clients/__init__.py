"""Commands that call models: ``bookserve models | predict | generate | sample | dream | style | explain | bench …``.

The client library is ``bookserve.client``. ``from clients import connect`` is the older name of
``from bookserve import connect``; the model cards of bookserve 0.1.0 show it, and it still works.
"""

from bookserve.client import Client as Client
from bookserve.client import Samples as Samples
from bookserve.client import connect as connect
