"""``clickhouses://`` is TLS on any port, with the authority that the operator names."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from millimetric_mcp.api.store import ClientPool, migrate, parse_store_dsn
from millimetric_mcp.errors import StoreUnavailable


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A file of a key and its own certificate for 127.0.0.1."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(path), "-out", f"{path}.crt"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, *files],
        check=True,
        capture_output=True,
        timeout=30,
    )
    with path.open("a") as file:
        file.write(Path(f"{path}.crt").read_text())
    return path


@pytest.fixture(scope="module")
def tls_front(certificate, start_front, tmp_path_factory):
    return start_front(tmp_path_factory.mktemp("front"), "--certificate", str(certificate))


@pytest.fixture
def connect(tls_front):
    pools = []

    def open_pool(parameters):
        dsn = tls_front.dsn("shop").replace("clickhouse:", "clickhouses:") + parameters
        target = replace(parse_store_dsn(dsn), fsync=False)
        pools.append(ClientPool(target))
        return pools[-1]

    yield open_pool
    for pool in pools:
        pool.close()


def test_a_private_authority_is_trusted_if_the_dsn_names_it(connect, certificate):
    pool = connect(f"?ca_cert={certificate}.crt")

    migrate(pool)

    assert pool.run(lambda client: client.query("SELECT count() FROM events").result_rows) == [(0,)]


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_any_certificate_is_accepted_only_with_verify_false(connect):
    with pytest.raises(StoreUnavailable, match="can't be reached by TLS"):
        connect("").run(lambda client: client.query("SELECT 1"))

    assert connect("?verify=false").run(lambda client: client.query("SELECT 1").result_rows)


def test_a_server_with_tls_is_not_reached_without(tls_front):
    pool = ClientPool(tls_front.target("shop"))

    with pytest.raises(StoreUnavailable):
        pool.run(lambda client: client.query("SELECT 1"))

    pool.close()
