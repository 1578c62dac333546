"""Pieces of text as messages of ``home.proto`` and back: what the server's home door and the gRPC wire share."""

from __future__ import annotations

from bookserve.api import native_pb2 as pb
from bookserve.generation.text import Drawn, Piece


def from_piece(piece: Piece) -> pb.GenerateReply:
    """A piece as it is sent."""
    drawn = [
        pb.Drawn(text=one.text, logprob=one.logprob, top=[pb.Drawn(text=text, logprob=log) for text, log in one.top])
        for one in piece.drawn
    ]
    return pb.GenerateReply(text=piece.text, index=piece.index, finish=piece.finish, drawn=drawn)


def to_piece(reply: pb.GenerateReply) -> Piece:
    """The piece that was sent."""
    drawn = [Drawn(one.text, one.logprob, tuple((top.text, top.logprob) for top in one.top)) for one in reply.drawn]
    return Piece(reply.text, reply.index, reply.finish, tuple(drawn))
