-- All shards' events under one name. A write names its shard; the key, chance, is for what
-- others may write by hand.
CREATE TABLE IF NOT EXISTS $database.$events $on_cluster AS $database.$local
ENGINE = Distributed('$cluster', '$database', '$local', rand());
