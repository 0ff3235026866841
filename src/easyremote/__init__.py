"""EasyRemote."""
