"""What tests share: a gateway on a thread, a scripted upstream, and clients that send exact bytes."""
