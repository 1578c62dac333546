"""What every gRPC method shares, whichever server carries it."""
