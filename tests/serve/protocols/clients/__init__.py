"""Official clients of each protocol, in processes and environments of their own: ``make test-clients``.

Each script is given the server's HTTP address and its gRPC target, fails where an answer is not what it should be, and
prints how many calls it made. Models: ``tests/bundles.py``, and ``half`` (``tfserving/half_plus_two.py``).
"""
