"""The program that runs ``bookserve serve`` on many machines, with Ray as control plane: ``bookserve fleet``.

Ray starts, watches and replaces servers. No request passes through it: clients ask the servers themselves, through
HAProxy or any other proxy. So a fleet that has lost Ray goes on serving.
"""
