"""A network of its own for a client. It can be cut: packets are lost, and no side notices."""

import ctypes
import os
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CLONE_NEWNET = 0x40000000


@dataclass(frozen=True)
class Network:
    """Two machines for TCP: this one, with an address in it, and one with the clients.

    Attributes:
        name: the namespace of the clients; a part of the names of both interfaces.
        address: the address of this machine.
        other_address: the address of the clients.
    """

    name: str
    address: str
    other_address: str

    def connect(self, port: int) -> socket.socket:
        """Return a socket of the other machine that is connected to a port of this one."""
        with ThreadPoolExecutor(1) as threads:  # a thread of its own moves to the namespace
            return threads.submit(self._connect, port).result()

    def _connect(self, port: int) -> socket.socket:
        with Path("/run/netns", self.name).open() as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        return socket.create_connection((self.address, port))

    def cut(self) -> None:
        """Drop all packets in both directions: they go to hardware addresses that do not exist."""
        lost = "nud permanent lladdr 02:00:00:00:00:99"
        ip(f"neigh replace {self.other_address} dev {self.name}a {lost}")
        ip(f"-n {self.name} neigh replace {self.address} dev {self.name}b {lost}")

    def heal(self) -> None:
        """Let packets pass again."""
        ip(f"neigh del {self.other_address} dev {self.name}a")
        ip(f"-n {self.name} neigh del {self.address} dev {self.name}b")


def ip(arguments: str) -> None:
    """Run the command ``ip``.

    Raises:
        OSError: it is not installed.
        subprocess.CalledProcessError: it may not do this.
    """
    subprocess.run(["ip", *arguments.split()], check=True, capture_output=True)


@contextmanager
def separate_network() -> Iterator[Network]:
    """Make a network; raise as `ip` does where this is not permitted."""
    name, number = f"relay{os.getpid()}", os.getpid() % 16384
    prefix = f"10.213.{number // 64}"
    first = number % 64 * 4
    network = Network(name, f"{prefix}.{first + 1}", f"{prefix}.{first + 2}")
    ip(f"netns add {name}")
    try:
        ip(f"link add {name}a type veth peer name {name}b netns {name}")
        ip(f"addr add {network.address}/30 dev {name}a")
        ip(f"link set {name}a up")
        ip(f"-n {name} addr add {network.other_address}/30 dev {name}b")
        ip(f"-n {name} link set {name}b up")
        yield network
    finally:
        ip(f"netns del {name}")  # with its interface, and with the other end of it
