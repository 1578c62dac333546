"""One module for each wire: ``http`` and ``rpc`` to a server, ``local`` to a directory of bundles without one."""
