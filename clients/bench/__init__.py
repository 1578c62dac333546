"""``bookserve bench``: a served model measured beside the bare runtime."""
