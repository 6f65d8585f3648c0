-- The database, on every server.
CREATE DATABASE IF NOT EXISTS millimetric ON CLUSTER 'analytics';

-- Which migrations were applied: one row or more for each. On every server of a cluster.
CREATE TABLE IF NOT EXISTS millimetric.schema_versions ON CLUSTER 'analytics'
(
    version    String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{database}/{table}', '{shard}-{replica}')
ORDER BY version;

-- Events, one row each; an empty string is an absent value.
-- Partitioned by the month of arrival, so that an insert is one part and thus whole or absent.
CREATE TABLE IF NOT EXISTS millimetric.events_local ON CLUSTER 'analytics'
(
    project_id        UInt64 CODEC(ZSTD(1)),
    timestamp         DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    received_at       DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    event_name        LowCardinality(String) CODEC(ZSTD(1)),
    event_id          String CODEC(ZSTD(3)),
    anonymous_id      String CODEC(ZSTD(3)),
    user_id           String CODEC(ZSTD(3)),
    session_id        String CODEC(ZSTD(3)),
    source            LowCardinality(String) CODEC(ZSTD(1)),
    medium            LowCardinality(String) CODEC(ZSTD(1)),
    campaign          LowCardinality(String) CODEC(ZSTD(1)),
    source_confidence LowCardinality(String) CODEC(ZSTD(1)),
    source_rule_id    LowCardinality(String) CODEC(ZSTD(1)),
    referrer          String CODEC(ZSTD(3)),
    url               String CODEC(ZSTD(3)),
    path              String CODEC(ZSTD(3)),
    country           LowCardinality(String) CODEC(ZSTD(1)),
    device_type       LowCardinality(String) CODEC(ZSTD(1)),
    browser           LowCardinality(String) CODEC(ZSTD(1)),
    os                LowCardinality(String) CODEC(ZSTD(1)),
    properties        String CODEC(ZSTD(3)),
    ip_hash           UInt128 CODEC(ZSTD(1)),

    PROJECTION by_source
    (
        SELECT
            project_id, toDate(timestamp), source, medium,
            count(), uniqCombinedState(14)(anonymous_id)
        GROUP BY project_id, toDate(timestamp), source, medium
    ),
    PROJECTION by_event_and_source
    (
        SELECT
            project_id, toDate(timestamp), event_name, source, medium,
            count(), uniqCombinedState(14)(anonymous_id)
        GROUP BY project_id, toDate(timestamp), event_name, source, medium
    ),
    PROJECTION by_event_and_country
    (
        SELECT
            project_id, toDate(timestamp), event_name, country,
            count(), uniqCombinedState(14)(anonymous_id)
        GROUP BY project_id, toDate(timestamp), event_name, country
    )
)
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
PARTITION BY toYYYYMM(received_at)
ORDER BY (project_id, toStartOfHour(timestamp), anonymous_id, timestamp)
SETTINGS
    old_parts_lifetime = 5,
    cleanup_delay_period = 2,
    cleanup_delay_period_random_add = 1,
    max_cleanup_delay_period = 5,
    finished_mutations_to_keep = 1,
    fsync_after_insert = 1,
    fsync_part_directory = 1,
    min_compressed_bytes_to_fsync_after_merge = 1;

-- All shards' events under one name. The API's writes name their shard; the random key is for
-- what people write by hand.
CREATE TABLE IF NOT EXISTS millimetric.events ON CLUSTER 'analytics' AS millimetric.events_local
ENGINE = Distributed('analytics', 'millimetric', 'events_local', rand());

-- Which store this is, by whatever address it is reached; the same on every server of a cluster.
CREATE TABLE IF NOT EXISTS millimetric.identity ON CLUSTER 'analytics'
(
    id String
)
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{database}/{table}', '{shard}-{replica}')
ORDER BY id
SETTINGS
    fsync_after_insert = 1,
    fsync_part_directory = 1;

-- The table's own UUID, so that processes that start at once all write the same id. A server that
-- joins a cluster has a table with another UUID, and takes the id that exists.
INSERT INTO millimetric.identity
SELECT toString(uuid)
FROM system.tables
WHERE database = 'millimetric' AND name = 'identity'
    AND (SELECT count() FROM clusterAllReplicas('analytics', millimetric.identity)) = 0;

-- Outdated files are deleted within about 3 seconds, not 15: a deletion waits for that. A replica
-- looks for them a little later than another one.
ALTER TABLE millimetric.events_local ON CLUSTER 'analytics'
MODIFY SETTING
    old_parts_lifetime = 1,
    cleanup_delay_period = 1,
    max_cleanup_delay_period = 1;

-- Which kind of key sent an event, and whether a bot's request did. Older events count as people's.
ALTER TABLE millimetric.events_local ON CLUSTER 'analytics'
ADD COLUMN IF NOT EXISTS key_kind LowCardinality(String) CODEC(ZSTD(1)),
ADD COLUMN IF NOT EXISTS is_bot UInt8 CODEC(ZSTD(1));

-- The same columns in the table of all shards' events.
ALTER TABLE millimetric.events ON CLUSTER 'analytics'
ADD COLUMN IF NOT EXISTS key_kind LowCardinality(String),
ADD COLUMN IF NOT EXISTS is_bot UInt8;

-- Which part of which import brought an event: the import's number, and 32 bits of the part's.
ALTER TABLE millimetric.events_local ON CLUSTER 'analytics'
ADD COLUMN IF NOT EXISTS import_part UInt64 CODEC(ZSTD(1));

-- The same column in the table of all shards' events.
ALTER TABLE millimetric.events ON CLUSTER 'analytics'
ADD COLUMN IF NOT EXISTS import_part UInt64;

-- A hash of the visitor, and what the event says about its person: 1 a touch, 2 a user of this
-- visitor, 3 both, 0 neither. A touch comes from outside, and not from a payment or sign-in page.
-- Both are computed from the other columns, for older events too.
ALTER TABLE millimetric.events_local ON CLUSTER 'analytics'
ADD COLUMN IF NOT EXISTS visitor UInt64 MATERIALIZED cityHash64(anonymous_id) CODEC(ZSTD(1)),
ADD COLUMN IF NOT EXISTS person_role UInt8 MATERIALIZED
    if(
        source IN ('', 'direct', 'internal')
        OR (
            startsWith(source_rule_id, 'ref_')
            AND (
                source IN ('stripe.com', 'paypal.com', 'klarna.com', 'klarnapayments.com', 'shop.app', 'afterpay.com', 'clearpay.co.uk', 'affirm.com', 'adyen.com', 'mollie.com', 'checkout.com', 'braintreegateway.com', 'squareup.com', 'worldpay.com', 'sagepay.com', 'opayo.co.uk', 'gocardless.com', 'paddle.com', 'lemonsqueezy.com', 'fastspring.com', '2checkout.com', 'payu.com', 'payu.in', 'razorpay.com', 'paytm.in', 'paytm.com', 'mercadopago.com', 'mercadopago.com.br', 'pagseguro.com.br', 'sofort.com', 'giropay.de', 'paydirekt.de', 'payone.com', 'wirecard.com', 'datatrans.com', 'saferpay.com', 'twint.ch', 'bancontact.net', 'swish.nu', 'nets.eu', 'bambora.com', 'trustly.com', 'przelewy24.pl', 'dotpay.pl', 'tpay.com', 'paysafecard.com', 'skrill.com', 'neteller.com', 'alipay.com', 'authorize.net', 'cybersource.com', 'arcot.com', 'cardinalcommerce.com', 'sezzle.com', 'zip.co', 'scalapay.com', 'alma.eu', 'getalma.eu', 'oney.com', 'billie.io', 'unzer.com', 'sumup.com', 'coinbase.com', 'bitpay.com', 'dlocal.com', 'ebanx.com', 'xendit.co', 'midtrans.com', 'auth0.com', 'okta.com', 'oktapreview.com', 'onelogin.com', 'accounts.dev', 'amazoncognito.com', 'microsoftonline.com', 'b2clogin.com', 'workos.com')
                OR lower(domain(referrer)) IN ('accounts.google.com', 'accounts.google.co.uk', 'pay.google.com', 'payments.google.com', 'appleid.apple.com', 'idmsa.apple.com', 'login.live.com', 'login.microsoft.com', 'login.yahoo.com', 'pay.amazon.com', 'payments.amazon.com', 'payments.amazon.de', 'apay-us.amazon.com', 'checkout.shopify.com', 'pay.shopify.com', 'accounts.shopify.com')
                OR lower(domain(url)) = source
                OR endsWith(lower(domain(url)), concat('.', source))
            )
        ),
        0,
        1
    ) + if(user_id = '', 0, 2) CODEC(ZSTD(1));

-- Touches and ties by visitor, which the questions about people read.
ALTER TABLE millimetric.events_local ON CLUSTER 'analytics'
ADD PROJECTION IF NOT EXISTS by_person
(
    SELECT
        project_id, person_role, visitor, timestamp, user_id, session_id, source, medium, campaign,
        source_rule_id, source_confidence, is_bot
    ORDER BY project_id, person_role, visitor, timestamp
);

-- The counts of each day, with automated clients apart.
ALTER TABLE millimetric.events_local ON CLUSTER 'analytics'
ADD PROJECTION IF NOT EXISTS daily_sources
(
    SELECT
        project_id, toDate(timestamp), is_bot, source, medium, source_rule_id,
        count(), uniqCombinedState(14)(anonymous_id)
    GROUP BY project_id, toDate(timestamp), is_bot, source, medium, source_rule_id
);

ALTER TABLE millimetric.events_local ON CLUSTER 'analytics'
ADD PROJECTION IF NOT EXISTS daily_event_sources
(
    SELECT
        project_id, toDate(timestamp), is_bot, event_name, source, medium,
        count(), uniqCombinedState(14)(anonymous_id)
    GROUP BY project_id, toDate(timestamp), is_bot, event_name, source, medium
);

ALTER TABLE millimetric.events_local ON CLUSTER 'analytics'
ADD PROJECTION IF NOT EXISTS daily_event_countries
(
    SELECT
        project_id, toDate(timestamp), is_bot, event_name, country,
        count(), uniqCombinedState(14)(anonymous_id)
    GROUP BY project_id, toDate(timestamp), is_bot, event_name, country
);

-- The engine builds them for the older events in the background, and goes on after a restart. Until
-- then questions read the rows themselves.
ALTER TABLE millimetric.events_local ON CLUSTER 'analytics'
MATERIALIZE PROJECTION by_person,
MATERIALIZE PROJECTION daily_sources,
MATERIALIZE PROJECTION daily_event_sources,
MATERIALIZE PROJECTION daily_event_countries;

ALTER TABLE millimetric.events_local ON CLUSTER 'analytics'
DROP PROJECTION IF EXISTS by_source,
DROP PROJECTION IF EXISTS by_event_and_source,
DROP PROJECTION IF EXISTS by_event_and_country;

-- The same columns in the table of all shards' events.
ALTER TABLE millimetric.events ON CLUSTER 'analytics'
ADD COLUMN IF NOT EXISTS visitor UInt64 MATERIALIZED cityHash64(anonymous_id),
ADD COLUMN IF NOT EXISTS person_role UInt8 MATERIALIZED 0;
