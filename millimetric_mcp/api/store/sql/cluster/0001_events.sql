-- All shards' events under one name; a write names its shard, so it needs no sharding key.
CREATE TABLE IF NOT EXISTS $events $on_cluster AS $local
ENGINE = Distributed('$cluster', '$database', '$local', rand());
