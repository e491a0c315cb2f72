"""The sandbox's small agent: the VigilOps agent protocol with nothing but the standard library."""
