"""Who is compared: each one's configuration and command line, as like as they can be made.

TLS 1.3, AES-128-GCM, one P-256 certificate, X25519; keep-alive on both sides; an access log in a file; the visitor's
address told upstream; timeouts on. What cannot be made alike is said in `note`.
"""

import contextlib
import os
import re
import shutil
import subprocess

import machine
import street as surroundings


class Running:
    """A server that was started, and its port."""

    def __init__(self, street, name, child, port):
        self.street, self.name, self.child, self.port = street, name, child, port
        self.peer = ALL[name]

    def get(self, path, headers):
        return surroundings.get(self.port, path, headers)

    def cookie(self):
        return self.peer.cookie(self.street)

    def processor_time(self):
        return machine.processor_time(self.child.pid)

    def memory(self):
        return machine.memory(self.child.pid)


@contextlib.contextmanager
def start(street, name, *more):
    port = machine.free_port()
    command, environment = ALL[name].prepare(street, port, *more)
    child = street.spawn(command, street.server_core, name, environment)
    try:
        street.await_port(port, child)
        yield Running(street, name, child, port)
    finally:
        street.stop(child)


class Guestpass:
    program = "guestpass"
    optional = False
    checks = True
    note = "checks the cookie's HMAC, its claims and their time; one ticket a handshake; log written ten times a second"

    CONF = """
workers = 1
listen = [{{ address = "127.0.0.1:{port}" }}]
tls = {{ min_version = "1.3", certificate = [{{ chain = "site.pem", key = "site.key" }}] }}
genesys = {{ base_url = "http://127.0.0.1:{genesys}", client_id = "peers", client_secret = "peers", organization_id = "peers" }}
session.expiration_seconds = 86400
upstream = [{{ name = "site", servers = ["http://127.0.0.1:{upstream}"], max_idle_connections = 256 }}]
route = [{{ path = "/account/**", session = "require" }}]
limits.connections = 20000
limits.connections_per_address = 20000
log.access = "{folder}/guestpass.access"
"""

    # What a privacy officer, a key custodian and whoever is on call have on. Nobody listens where the KMS would be.
    GOVERNANCE = """
admin.address = "127.0.0.1:{admin}"
audit.mode = "required"
kms = {{ webhook_url = "http://127.0.0.1:1/", webhook_secret = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" }}
"""

    def prepare(self, street, port, genesys=1):
        text = self.CONF + self.GOVERNANCE
        conf = text.format(port=port, genesys=genesys, upstream=street.upstream_port, folder=street.folder,
                           admin=machine.free_port())
        return [street.program, "run", "--config", street.write("guestpass.toml", conf)], {"HMAC_SECRET": street.secret}

    def cookie(self, street):
        return street.our_cookie()

    def version(self, program):
        return first_line([program, "--version"])


class Bare(Guestpass):
    optional = True
    note = "guestpass without metrics, audit log, KMS and status"
    GOVERNANCE = 'audit.path = "off"\n'


class Haproxy:
    program, package, optional = "haproxy", "haproxy", False
    checks = True
    note = "checks the same cookie's HMAC by its own converters, not its claims; OpenSSL's two tickets"

    CONF = """
global
    nbthread 1
    maxconn 9000
    log stdout format raw local0
    ssl-default-bind-options ssl-min-ver TLSv1.3
    ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
defaults
    mode http
    log global
    option httplog
    option forwardfor
    timeout connect 2s
    timeout http-request 15s
    timeout http-keep-alive 75s
    timeout client 60s
    timeout server 60s
frontend visitors
    bind 127.0.0.1:{port} ssl crt {folder}/both.pem alpn h2,http/1.1 curves X25519:P-256
    http-request set-var(txn.cookie) req.cook({cookie})
    http-request set-var(txn.tag) var(txn.cookie),field(1,.,3),hmac(sha256,{key})
    acl good var(txn.cookie),field(4,.),ub64dec,secure_memcmp(txn.tag)
    http-request deny deny_status 401 if {{ path_beg /account/ }} !good
    default_backend site
backend site
    http-reuse always
    server site 127.0.0.1:{upstream}
"""

    def prepare(self, street, port):
        conf = self.CONF.format(port=port, upstream=street.upstream_port, folder=street.folder, key=street.key,
                                cookie=surroundings.COOKIE)
        return ["haproxy", "-db", "-f", street.write("haproxy.cfg", conf)], {}

    def cookie(self, street):
        return street.haproxys_cookie()

    def version(self, _program):
        return first_line(["haproxy", "-v"])


class Nginx:
    program, package, optional = "nginx", "nginx-light", False
    checks = False
    note = "checks nothing; OpenSSL's two tickets; log written once a second"

    CONF = """
daemon off;
worker_processes 1;
{user}
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
worker_rlimit_nofile 30000;
events {{ worker_connections 20000; }}
http {{
    access_log {folder}/nginx.access combined buffer=64k flush=1s;
    keepalive_requests 100000000;
    keepalive_timeout 75s;
    client_max_body_size 0;
    client_body_temp_path {folder}/nginx-bodies;
    proxy_temp_path {folder}/nginx-proxied;
    fastcgi_temp_path {folder}/nginx-fastcgi;
    uwsgi_temp_path {folder}/nginx-uwsgi;
    scgi_temp_path {folder}/nginx-scgi;
    ssl_certificate {folder}/site.pem;
    ssl_certificate_key {folder}/site.key;
    ssl_protocols TLSv1.3;
    ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
    ssl_ecdh_curve X25519:P-256;
    upstream site {{
        server 127.0.0.1:{upstream};
        keepalive 256;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{port} ssl http2 backlog=4096;
        location / {{
            proxy_pass http://site;
            proxy_http_version 1.1;
            # As guestpass and HAProxy do: a body is passed on while it comes.
            proxy_request_buffering off;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Request-Id $request_id;
        }}
    }}
}}
"""

    def prepare(self, street, port):
        user = "user root;" if os.geteuid() == 0 else ""
        conf = self.CONF.format(port=port, upstream=street.upstream_port, folder=street.folder, user=user)
        return ["nginx", "-c", street.write("nginx.conf", conf), "-p", street.folder], {}

    def cookie(self, street):
        return street.our_cookie()

    def version(self, _program):
        return first_line(["nginx", "-v"])


class Caddy:
    program, package, optional = "caddy", "caddy", True
    checks = False
    note = "checks nothing; Go's choice of cipher"

    CONF = """
{{
    admin off
    auto_https off
    storage file_system {folder}/caddy
}}
https://localhost:{port} {{
    bind 127.0.0.1
    tls {folder}/site.pem {folder}/site.key {{
        protocols tls1.3
    }}
    log {{
        output file {folder}/caddy.access
    }}
    reverse_proxy 127.0.0.1:{upstream} {{
        transport http {{
            keepalive_idle_conns_per_host 256
        }}
    }}
}}
"""

    def prepare(self, street, port):
        conf = self.CONF.format(port=port, upstream=street.upstream_port, folder=street.folder)
        command = ["caddy", "run", "--adapter", "caddyfile", "--config", street.write("Caddyfile", conf)]
        return command, {"GOMAXPROCS": "1", "XDG_DATA_HOME": street.folder, "XDG_CONFIG_HOME": street.folder}

    def cookie(self, street):
        return street.our_cookie()

    def version(self, _program):
        return first_line(["caddy", "version"])


ALL = {"guestpass": Guestpass(), "bare": Bare(), "haproxy": Haproxy(), "nginx": Nginx(), "caddy": Caddy()}


def first_line(command):
    if not shutil.which(command[0]):
        return "?"
    said = subprocess.run(command, capture_output=True, text=True, timeout=surroundings.PATIENCE, check=False)
    return re.sub(r" - .*", "", (said.stdout or said.stderr).splitlines()[0])
