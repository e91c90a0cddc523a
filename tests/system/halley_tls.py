"""Certificates for tests, and a TLS client that can do what sockets can and Python's SSLSocket cannot: finish sending and read on, go away in the middle,
and say what it is doing byte by byte."""

import atexit
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading

_made = {}
_dir = None


def directory():
    global _dir
    if _dir is None:
        _dir = pathlib.Path(tempfile.mkdtemp(prefix="halley-tls-"))
        _dir.chmod(0o755)
        owner = os.getpid()
        atexit.register(lambda: os.getpid() == owner and shutil.rmtree(_dir, ignore_errors=True))
    return _dir


def openssl(*args, stdin=b""):
    subprocess.run(["openssl", *args], input=stdin, check=True, capture_output=True)


def certificate(*names, key="ec", days=30, issuer=None, ca=False):
    """A certificate for these names, the first of them its common name; made once. Returns (certificate, key), paths. issuer: as returned here for another;
    without one it signs itself."""
    what = (names, key, days, issuer, ca)
    if what not in _made:
        number = len(_made)
        cert, key_path = str(directory() / f"{number}.pem"), str(directory() / f"{number}.key")
        kind = ["rsa:2048"] if key == "rsa" else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        san = ",".join(("IP:" if n.replace(".", "").isdigit() or ":" in n else "DNS:") + n for n in names)
        signer = [] if issuer is None else ["-CA", issuer[0], "-CAkey", issuer[1]]
        extra = ["-addext", "basicConstraints=critical,CA:TRUE"] if ca else ["-addext", f"subjectAltName={san}", "-addext", "basicConstraints=CA:FALSE"]
        openssl("req", "-x509", "-newkey", *kind, "-nodes", "-keyout", key_path, "-out", cert, "-days", str(days), "-subj", f"/CN={names[0]}", *signer, *extra)
        _made[what] = cert, key_path
    return _made[what]


def local():
    return certificate("localhost", "127.0.0.1")


def section(pair=None):
    cert, key = pair or local()
    return f'tls_certificate = "{cert}"  tls_key = "{key}"'


def client_context(ca=None, **options):
    context = ssl.create_default_context(cafile=ca or local()[0])
    for name, value in options.items():
        setattr(context, name, value)
    return context


class TlsSocket:
    """As much of a socket as halley_test.Stream and Swarm use. Reading returns what has been decrypted; EOF is close_notify or FIN."""

    def __init__(self, sock, context=None, host="localhost", session=None, shake=True):
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = (context or client_context()).wrap_bio(self.incoming, self.outgoing, server_hostname=host, session=session)
        self.ended_by = None # "close_notify" or "FIN"
        self.lock, self.writing = threading.Lock(), threading.Lock() # one thread may send while another one reads: OpenSSL takes one at a time
        if shake:
            self.do_handshake()

    def _flush(self):
        if self.outgoing.pending:
            self.sock.sendall(self.outgoing.read())

    def _fill(self):
        data = self.sock.recv(65536)
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()
        return bool(data)

    def do_handshake(self):
        while True:
            try:
                self.tls.do_handshake()
                self._flush()
                return
            except ssl.SSLWantReadError:
                self._flush()
                if not self._fill():
                    raise ConnectionResetError("FIN in the handshake") from None
            except ssl.SSLError:
                self._flush()
                raise

    def sendall(self, data):
        view, blocking, count = memoryview(bytes(data)), self.sock.gettimeout(), len(data)
        if blocking == 0:
            self.sock.settimeout(20)
        with self.writing:
            with self.lock:
                while view:
                    view = view[self.tls.write(view[:16384]):]
            self._flush()
        if blocking == 0:
            self.sock.settimeout(0)
        return count

    send = sendall

    def recv(self, count):
        while True:
            try:
                with self.lock:
                    data = self.tls.read(count)
                if not data:
                    self.ended_by = self.ended_by or "close_notify"
                return data
            except ssl.SSLWantReadError:
                if self.writing.acquire(blocking=False): # the answer to a new key; else whoever writes takes it along
                    try:
                        self._flush()
                    finally:
                        self.writing.release()
                self._fill()
            except ssl.SSLZeroReturnError:
                self.ended_by = self.ended_by or "close_notify"
                return b""
            except ssl.SSLEOFError:
                self.ended_by = self.ended_by or "FIN"
                return b""

    def shutdown(self, how):
        if how != socket.SHUT_RD:
            try:
                self.tls.unwrap()
            except ssl.SSLError: # it wants to read the other's close_notify: later
                pass
            self._flush()
        self.sock.shutdown(how)

    def close(self):
        self.sock.close()

    def __getattr__(self, name): # settimeout, setsockopt, fileno, getsockname, ...
        return getattr(self.sock, name)
