"""Listeners that are held by the test, as systemd holds those of a socket unit, and a server that is started with them."""

import os
import socket
import subprocess

from halley_test import Server

INHERIT = "import os, sys; os.environ['LISTEN_PID'] = str(os.getpid()); os.execv(sys.argv[1], sys.argv[1:])"


class Activated:
    """halleyd with listeners that others have opened, and hold."""

    def __init__(self, config, *listeners, reactors=2, env=None):
        self.listeners = listeners
        if "backend " not in config:
            config += '\nbackend "{dir}/backend.sock" { }'
        self.server = Server(f"reactors = {reactors}\n{config}", listen=False, env=env)

    def start(self):
        """As systemd does: the sockets are descriptors from 3 on."""
        server, fds = self.server, [s.fileno() for s in self.listeners]

        def pass_on():
            spare = [os.dup2(fd, 100 + i) for i, fd in enumerate(fds)]
            for i, fd in enumerate(spare):
                os.dup2(fd, 3 + i)
                os.close(fd)
            os.environ["LISTEN_PID"] = str(os.getpid()) # too early: the exec'd Python says it again
        popen = subprocess.Popen

        def open_with_sockets(arguments, **options):
            options["env"]["LISTEN_FDS"] = str(len(fds))
            return popen(["/usr/bin/python3", "-c", INHERIT, *arguments], **{**options, "preexec_fn": pass_on, "close_fds": False})
        subprocess.Popen = open_with_sockets
        try:
            server.start()
        finally:
            subprocess.Popen = popen
        server.again = self.start
        return server

    def __enter__(self):
        return self.start()

    def __exit__(self, *arguments):
        self.server.__exit__(*arguments)


def tcp(address="127.0.0.1", family=socket.AF_INET, both=False):
    sock = socket.socket(family)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
    sock.bind((address, 0))
    sock.listen(4096)
    return sock


def port_of(sock):
    return sock.getsockname()[1]
