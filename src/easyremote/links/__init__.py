"""How bytes move; asyncio, gRPC and sockets begin here."""
