-- Outdated files are deleted within about 3 seconds, not 15: a deletion waits for that. A replica
-- looks for them a little later than another one.
ALTER TABLE $database.$local $on_cluster
MODIFY SETTING
    old_parts_lifetime = 1,
    cleanup_delay_period = 1,
    max_cleanup_delay_period = 1;
