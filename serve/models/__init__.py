"""The models of a server: repository, versions, labels, and which are in memory."""
