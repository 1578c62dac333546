"""Being written."""


def routes(engine):
    return []
