"""The server room: live models behind one engine, and one door for each protocol. Started by ``bookserve serve``."""
