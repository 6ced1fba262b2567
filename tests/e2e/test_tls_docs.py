"""The commands of docs/tls.md, run against a server of this machine."""

from __future__ import annotations

import subprocess

from plexus_mp.tls import Connector

from host_sim.authority import Identity
from host_sim.world import ROOT
from tests.e2e.test_tls_cpython import connect, read, serving

COMMANDS = [
    line.strip() for line in (ROOT / "docs" / "tls.md").read_text().splitlines() if line.startswith("    ")
]


def _run(folder, command):
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_a_gateway_of_ones_own(tmp_path):
    """Its certificate is made, shown by s_client, turned into DER, and vouches for itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    [show, public, copy, make, own] = COMMANDS
    _run(tmp_path, make.replace("gateway.lan", "localhost"))
    certificate = x509.load_pem_x509_certificate((tmp_path / "cert.pem").read_bytes())
    key = load_pem_private_key((tmp_path / "key.pem").read_bytes(), None)
    with serving(tmp_path, Identity(certificate, key)) as server:
        said = _run(tmp_path, show.replace("gateway.plexus.company:443", f"127.0.0.1:{server.port}"))
        assert "depth=0" in said and "localhost" in said
        for command in (own, public.replace("/etc/ssl/certs/ISRG_Root_X1.pem", "cert.pem")):
            (tmp_path / "ca.der").unlink(missing_ok=True)
            _run(tmp_path, command)
            stream = connect(Connector(str(tmp_path / "ca.der"), lambda: None), server.port)
            assert stream.write(b"ping\n") == 5 and read(stream, 5) == b"ping\n"
            stream.close()
    assert copy == "mpremote cp ca.der :/ca.der"
