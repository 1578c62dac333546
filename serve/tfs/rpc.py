"""Being written."""


def handlers(engine):
    return []
