-- The few events that are no page views, by name: a question about them reads no others. A server
-- may be too old for a projection with a condition. `write_named` writes the same condition.
ALTER TABLE $database.$local
ADD PROJECTION IF NOT EXISTS by_name
(
    SELECT
        project_id, event_name, timestamp, visitor, anonymous_id, user_id, session_id, person_role,
        source, medium, campaign, source_rule_id, source_confidence, country, device_type, browser,
        os, is_bot, properties
    WHERE NOT startsWith(event_name, '$$pageview')
    ORDER BY project_id, event_name, timestamp
);

ALTER TABLE $database.$local
MATERIALIZE PROJECTION by_name;
