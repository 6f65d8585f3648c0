-- A hash of the visitor, and what the event says about its person: 1 a touch, 2 a user of this
-- visitor, 3 both, 0 neither. A touch comes from outside, and not from a payment or sign-in page.
-- Both are computed from the other columns, for older events too.
ALTER TABLE $database.$local $on_cluster
ADD COLUMN IF NOT EXISTS visitor UInt64 MATERIALIZED cityHash64(anonymous_id) CODEC(ZSTD(1)),
ADD COLUMN IF NOT EXISTS person_role UInt8 MATERIALIZED
    if(
        source IN ('', 'direct', 'internal')
        OR (
            startsWith(source_rule_id, 'ref_')
            AND (
                source IN ($passthrough_domains)
                OR lower(domain(referrer)) IN ($passthrough_hosts)
                OR lower(domain(url)) = source
                OR endsWith(lower(domain(url)), concat('.', source))
            )
        ),
        0,
        1
    ) + if(user_id = '', 0, 2) CODEC(ZSTD(1));

-- Touches and ties by visitor, which the questions about people read.
ALTER TABLE $database.$local $on_cluster
ADD PROJECTION IF NOT EXISTS by_person
(
    SELECT
        project_id, person_role, visitor, timestamp, user_id, session_id, source, medium, campaign,
        source_rule_id, source_confidence, is_bot
    ORDER BY project_id, person_role, visitor, timestamp
);

-- The counts of each day, with automated clients apart.
ALTER TABLE $database.$local $on_cluster
ADD PROJECTION IF NOT EXISTS daily_sources
(
    SELECT
        project_id, toDate(timestamp), is_bot, source, medium, source_rule_id,
        count(), uniqCombinedState(14)(anonymous_id)
    GROUP BY project_id, toDate(timestamp), is_bot, source, medium, source_rule_id
);

ALTER TABLE $database.$local $on_cluster
ADD PROJECTION IF NOT EXISTS daily_event_sources
(
    SELECT
        project_id, toDate(timestamp), is_bot, event_name, source, medium,
        count(), uniqCombinedState(14)(anonymous_id)
    GROUP BY project_id, toDate(timestamp), is_bot, event_name, source, medium
);

ALTER TABLE $database.$local $on_cluster
ADD PROJECTION IF NOT EXISTS daily_event_countries
(
    SELECT
        project_id, toDate(timestamp), is_bot, event_name, country,
        count(), uniqCombinedState(14)(anonymous_id)
    GROUP BY project_id, toDate(timestamp), is_bot, event_name, country
);

-- The engine builds them for the older events in the background, and goes on after a restart. Until
-- then questions read the rows themselves.
ALTER TABLE $database.$local $on_cluster
MATERIALIZE PROJECTION by_person,
MATERIALIZE PROJECTION daily_sources,
MATERIALIZE PROJECTION daily_event_sources,
MATERIALIZE PROJECTION daily_event_countries;

ALTER TABLE $database.$local $on_cluster
DROP PROJECTION IF EXISTS by_source,
DROP PROJECTION IF EXISTS by_event_and_source,
DROP PROJECTION IF EXISTS by_event_and_country;
