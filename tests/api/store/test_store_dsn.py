"""What a MILLIMETRIC_STORE value may be, and the error for a wrong one, which does not show it."""

import pytest
from pydantic import SecretStr

from millimetric_mcp.api.store import parse_store_dsn
from millimetric_mcp.cli.api import resolve_store
from millimetric_mcp.errors import SettingsError
from millimetric_mcp.settings import StoreSettings

SECRET = "hunter2-planted"


@pytest.mark.parametrize(
    ("dsn", "opened", "database", "address", "secure"),
    [
        pytest.param(
            "clickhouse://mm:p%40ss@ch.example:8123/shop",
            "http://mm:p%40ss@ch.example:8123",
            "shop",
            "ch.example:8123",
            False,
            id="all-parts",
        ),
        pytest.param(
            "clickhouse://ch.example",
            "http://ch.example",
            "millimetric",
            "ch.example",
            False,
            id="host-alone",
        ),
        pytest.param(
            "clickhouses://mm@ch.example:18443/",
            "https://mm@ch.example:18443",
            "millimetric",
            "ch.example:18443",
            True,
            id="tls-on-any-port",
        ),
        pytest.param(
            "clickhouse://mm:x@[::1]:8123/shop",
            "http://mm:x@[::1]:8123",
            "shop",
            "[::1]:8123",
            False,
            id="ipv6",
        ),
    ],
)
def test_a_dsn_is_read_into_its_parts(dsn, opened, database, address, secure):
    target = parse_store_dsn(dsn)

    assert (target.dsn, target.database, target.address, target.secure, target.embedded) == (
        opened,
        database,
        address,
        secure,
        False,
    )


def test_a_target_never_shows_its_password():
    target = parse_store_dsn(f"clickhouse://mm:{SECRET}@ch.example:8123/shop")

    assert SECRET not in f"{target!r} {target.address}"


def test_tls_parameters_reach_the_client():
    target = parse_store_dsn(
        "clickhouses://mm@ch.example/shop?ca_cert=/etc/ssl/ours.pem&verify=true"
    )

    assert dict(target.tls_options) == {"ca_cert": "/etc/ssl/ours.pem", "verify": "true"}


@pytest.mark.parametrize(
    ("dsn", "said"),
    [
        pytest.param(f"mysql://mm:{SECRET}@host/db", "must be clickhouse://", id="other-scheme"),
        pytest.param(f"clickhouse://mm:{SECRET}@/db", "must be clickhouse://", id="no-host"),
        pytest.param(f"clickhouse://mm:{SECRET}@host:port/db", "must be", id="no-port-number"),
        pytest.param(f"clickhouse://mm:{SECRET}@host:99999/db", "must be", id="port-too-high"),
        pytest.param(f"clickhouse://mm:{SECRET}@[::1/db", "must be", id="broken-ipv6"),
        pytest.param(f"clickhouse://mm:{SECRET}@host/a-b", "database's name", id="database-name"),
        pytest.param(f"clickhouse://mm:{SECRET}@host/a/b", "database's name", id="two-databases"),
        pytest.param(f"clickhouse://mm:{SECRET}@host/a'", "database's name", id="a-quote"),
        pytest.param(
            f"clickhouses://mm:{SECRET}@host/db?async_insert=0", "ca_cert", id="other-parameter"
        ),
        pytest.param(
            f"clickhouse://mm:{SECRET}@host/db?verify=false", "clickhouses://", id="tls-without-tls"
        ),
        pytest.param(SECRET, "must be clickhouse://", id="no-dsn-at-all"),
        pytest.param("chdb:", "chdb:///absolute", id="embedded-nowhere"),
        pytest.param("chdb://", "chdb:///absolute", id="embedded-in-no-directory"),
        pytest.param("chdb:store", "chdb:///absolute", id="embedded-where-it-is-started"),
        pytest.param("chdb://store/events", "chdb:///absolute", id="embedded-with-a-host"),
        pytest.param("chdb:///", "chdb:///absolute", id="embedded-in-the-root"),
        pytest.param("chdb:///srv/store#a", "chdb:///absolute", id="embedded-with-a-fragment"),
        pytest.param("chdb:///srv/store?a=1", "chdb:///absolute", id="embedded-with-a-parameter"),
    ],
)
def test_the_error_for_an_invalid_dsn_does_not_show_it(dsn, said):
    with pytest.raises(SettingsError) as caught:
        parse_store_dsn(dsn)

    [fault] = caught.value.errors
    assert fault.startswith("--store / MILLIMETRIC_STORE: ")
    assert said in fault
    assert SECRET not in fault


@pytest.mark.parametrize("store", [None, SecretStr("chdb:///srv/store")])
def test_a_cluster_with_an_embedded_store_is_an_error(tmp_path, store):
    with pytest.raises(SettingsError, match="--cluster needs a ClickHouse server"):
        resolve_store(StoreSettings(store=store, cluster="shop"), tmp_path)
