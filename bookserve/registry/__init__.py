"""Copy bundles between machines: ``bookserve push`` and ``bookserve pull``."""
