"""Everything around the servers that are compared: a certificate, an upstream, bodies, and the visitors' cookies."""

import base64
import hashlib
import hmac
import http.client
import os
import secrets
import signal
import ssl
import subprocess
import time

import machine
from trouble import Trouble

COOKIE = "genesys_session"
BODY = 1024
MEBIBYTE = 1024 * 1024

# Long enough for a machine that has much else to do.
PATIENCE = 20

UPSTREAM = """
daemon off;
worker_processes 1;
{user}
pid {folder}/upstream.pid;
error_log {folder}/upstream.log;
worker_rlimit_nofile 30000;
events {{ worker_connections 12000; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    keepalive_timeout 600s;
    client_max_body_size 0;
    client_body_buffer_size 2m;
    client_body_temp_path {folder}/upstream-bodies;
    proxy_temp_path {folder}/upstream-proxied;
    fastcgi_temp_path {folder}/upstream-fastcgi;
    uwsgi_temp_path {folder}/upstream-uwsgi;
    scgi_temp_path {folder}/upstream-scgi;
    sendfile on;
    upstream itself {{ server 127.0.0.1:{port}; keepalive 64; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        root {folder}/site;
        location = /account/small {{ return 200 "{body}"; }}
        location = /small {{ return 200 "{body}"; }}
        # Answers once it has the whole body, and not before, as `return` would.
        location = /account/upload {{
            proxy_pass http://itself/taken;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_method GET;
        }}
        location = /taken {{ return 204; }}
    }}
}}
"""


class Street:
    """What every server that is measured stands in."""

    def __init__(self, folder, program):
        self.folder, self.program = folder, os.path.abspath(program)
        self.server_core, self.load_core = machine.cores()
        self.children = []
        # The same in every run of a server, so that one cookie serves all of them.
        self.secret = secrets.token_urlsafe(32)
        self.key = base64.b64encode(secrets.token_bytes(32)).decode()
        self._session = None

    def __enter__(self):
        self.make_files()
        self.upstream_port = machine.free_port()
        user = "user root;" if os.geteuid() == 0 else ""
        conf = UPSTREAM.format(folder=self.folder, port=self.upstream_port, user=user, body="x" * BODY)
        # Of one worker that the load's core carries. Two processes, of which one sleeps.
        self.spawn(["nginx", "-c", self.write("upstream.conf", conf), "-p", self.folder], self.load_core, "upstream")
        self.await_port(self.upstream_port, self.children[-1])
        return self

    def __exit__(self, *_):
        for child in reversed(self.children):
            end(child)

    def make_files(self):
        os.makedirs(self.path("site/account"))
        with open(self.path("site/account/large"), "wb") as file:
            file.write(os.urandom(MEBIBYTE))
        make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
                "-keyout", self.path("site.key"), "-out", self.path("site.pem")]
        made = subprocess.run(make, capture_output=True, text=True, timeout=PATIENCE, check=False)
        if made.returncode != 0:
            raise Trouble(f"openssl makes no certificate: {made.stderr}")
        # HAProxy wants both in one file.
        both = "".join(open(self.path(name), encoding="ascii").read() for name in ("site.pem", "site.key"))
        self.write("both.pem", both)

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        return self.path(name)

    def spawn(self, command, core, name, environment=None):
        with open(self.path(f"{name}.out"), "wb") as out, open(self.path(f"{name}.err"), "wb") as err:
            child = subprocess.Popen(command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                     env={**os.environ, **(environment or {})}, preexec_fn=machine.on_core(core))
        child.called = name
        self.children.append(child)
        return child

    def stop(self, child):
        end(child)
        self.children.remove(child)

    def await_port(self, port, child):
        until = time.monotonic() + PATIENCE
        while not machine.is_listening(port):
            if child.poll() is not None or time.monotonic() > until:
                with open(self.path(f"{child.called}.err"), encoding="utf-8", errors="replace") as file:
                    raise Trouble(f"{child.called} does not listen on port {port}: {file.read()[-2000:]}")
            time.sleep(0.02)

    def our_cookie(self):
        """One that guestpass gives to a visitor. Asked for once, of a guestpass with a simulated Genesys behind it."""
        if self._session is None:
            self._session = self.first_visit()
        return self._session

    def first_visit(self):
        import peers

        genesys_port = machine.free_port()
        simulate = [self.program, "simulate", "genesys", "--listen", f"127.0.0.1:{genesys_port}",
                    "--client-id", "peers", "--client-secret", "peers", "--organization", "peers"]
        genesys = self.spawn(simulate, self.load_core, "genesys")
        self.await_port(genesys_port, genesys)
        with peers.start(self, "guestpass", genesys_port) as running:
            navigation = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": "text/html"}
            _, headers = running.get("/small", navigation)
            given = [value for name, value in headers if name.lower() == "set-cookie" and value.startswith(f"{COOKIE}=")]
            if not given:
                raise Trouble("guestpass gives no session to a first visit")
        self.stop(genesys)
        return given[0].split(";")[0].split("=", 1)[1]

    def haproxys_cookie(self):
        """A value of the same form and length, under a key that HAProxy has as it stands."""
        signed = self.our_cookie().rsplit(".", 1)[0]
        tag = hmac.new(base64.b64decode(self.key), signed.encode(), hashlib.sha256).digest()
        return f"{signed}.{base64.urlsafe_b64encode(tag).decode().rstrip('=')}"


def end(child):
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait(5)


def get(port, path, headers):
    """One request by a client of its own: status and headers."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=PATIENCE)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        response.read()
        return response.status, response.getheaders()
    finally:
        connection.close()
