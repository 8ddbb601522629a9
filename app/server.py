"""uvicorn, which lets nobody wait once it is asked to end."""

import socket

import uvicorn


class Server(uvicorn.Server):
    """As uvicorn's; SIGTERM and SIGINT also end long polls and event streams.

    Whoever waits is answered with what is known, and whoever streams goes on elsewhere from the
    last event: neither is cut, nor holds up the end.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take nothing new, finish what has begun."""
        await self.lifespan.state["resources"].hub.close()
        await super().shutdown(sockets)
