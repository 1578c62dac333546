"""The server, started by ``bookserve serve``: live models behind one engine, asked over several protocols."""
