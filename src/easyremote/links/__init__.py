"""How bytes move; asyncio, HTTP/2 and sockets begin here."""
