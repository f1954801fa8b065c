"""The network on an NVIDIA GPU; imported only when ``device="cuda"`` asks for it."""
